"""The tables of a report as text cells, the reference's four first. One function per table."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.store import records
from results.tables.accuracy import VERDICT_MARKS, default_filter_rows
from results.tables.speed import REWARD_WINDOW_STEPS

NONE = "–"
_NOT_COMPARABLE = "†"
Row = dict[str, Any]


@dataclass(frozen=True)
class Sheet:
    """A table ready to print."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text_columns: int = 1
    """So many columns from the left hold text; the rest are numbers, set right."""
    notes: tuple[str, ...] = ()


def sheets(report: Report) -> Iterator[Sheet]:
    """All tables that have something to show: the reference's four, then what stands behind them."""
    timed = report.experiments["training_s"].notna().any()
    yield _experiments(report)
    if timed:
        yield _speed(report)
    yield from _accuracy(report)
    yield from _deltas(report)
    if timed:
        yield from _speedups(report)
        if len(report.seeds):
            yield _seeds(report)
        yield _where_time_goes(report)
        yield _modes(report)
        yield _staleness(report)
    if len(report.warnings):
        rows = tuple((row["label"], row["message"], str(row["times"])) for row in records(report.warnings))
        yield Sheet("Warnings", ("Exp", "Message", "Times"), rows, text_columns=2)


def _timed(report: Report) -> list[Row]:
    """Runs with at least one step."""
    return records(report.experiments[report.experiments["training_s"].notna()])


def _experiments(report: Report) -> Sheet:
    frame = report.experiments
    several = frame["seed"].nunique() > 1
    rows = []
    for row in records(frame):
        knobs = (row["max_staleness"], row["prompts_per_optim_step"], row["prompts_per_rollout_sync"])
        seed = (_integer(row["seed"]),) if several else ()
        progress = f"{row['steps_done']}/{_integer(row['max_steps'])}"
        # A point that cannot run has no number among the experiments; its label is its name.
        label = NONE if row["label"] == row["run_name"] else row["label"]
        rows.append(
            (
                label,
                row["run_name"],
                row["state"],
                *map(_integer, knobs),
                _number(row["lr"], "g"),
                *seed,
                progress,
            )
        )
    columns = (
        "Exp",
        "Run",
        "State",
        "Stale-\nness",
        "Optim\nstep",
        "Sync",
        "LR",
        *(("Seed",) if several else ()),
    )
    return Sheet("Experiments", (*columns, "Steps"), tuple(rows), text_columns=3)


def _speed(report: Report) -> Sheet:
    """The reference's table, with throughput and its interval beside every ratio of step times."""
    against = {row["run_name"]: row for row in records(report.speedups) if row["against"] == "reference"}
    references = {row["other_run"] for row in against.values()}
    rows = []
    for row in _timed(report):
        other = against.get(row["run_name"])
        if other is None and row["run_name"] in references:
            ratio, throughput = "1.00x (ref.)", "1.00x (reference)"
        elif other is not None:
            ratio, throughput = _step_ratio(other), _ratio(other, "prompts_per_s")
        else:
            ratio = throughput = NONE
        rows.append(
            (
                row["label"],
                _duration(row["training_s"]),
                f"{row['step_mean_s']:.4g}s ± {_number(row['step_std_s'], '.2g')}",
                ratio,
                f"{row['prompts_per_s']:.4g}",
                throughput,
            )
        )
    columns = (
        "Exp",
        "Training\ntime",
        "Mean step ± std",
        "Step-time\nspeedup",
        "Prompts/s",
        "Prompts/s speedup",
    )
    return Sheet("Training speed", columns, tuple(rows), notes=_speed_notes(report))


def _speed_notes(report: Report) -> tuple[str, ...]:
    notes = [
        f"Speedups against the {OPPONENTS['reference']}; brackets: 95 % interval within this run, "
        "from whole sync cycles after the first."
    ]
    if not report.speedups["step_time_comparable"].astype("boolean").fillna(True).all():
        notes.append(
            f"{_NOT_COMPARABLE} not comparable: the two runs' steps train different numbers of prompts."
        )
    return tuple(notes)


def _speedups(report: Report) -> Iterator[Sheet]:
    """All units side by side, against the twin and against the reference, never mixed."""
    for against in ("baseline", "reference"):
        part = report.speedups[report.speedups["against"] == against]
        if part.empty:
            continue
        rows = []
        for row in records(part):
            reward = _durations(row["time_to_reward_s"], row["other_time_to_reward_s"])
            rates = (_ratio(row, unit) for unit in ("prompts_per_s", "completion_tokens_per_s"))
            rows.append((row["label"], row["other_label"], _step_ratio(row), *rates, reward))
        columns = ("Exp", "Against", "Step time", "Prompts/s", "Trained tokens/s", "Time to\nreward")
        note = (
            "Time to reward: this run / the other, until the trailing mean of "
            f"{REWARD_WINDOW_STEPS} steps reaches the other's mean over its last fifth; {NONE} not reached."
        )
        yield Sheet(f"Speedup against the {OPPONENTS[against]}", columns, tuple(rows), 2, (note,))


def _seeds(report: Report) -> Sheet:
    rows = tuple(
        (
            row["label"],
            OPPONENTS[str(row["against"])],
            str(row["seeds"]),
            f"{row['prompts_per_s_speedup']:.2f}x [{row['low']:.2f}–{row['high']:.2f}]",
        )
        for row in records(report.seeds)
    )
    return Sheet("Speedup over seeds", ("Arm", "Against", "Seeds", "Prompts/s speedup"), rows, text_columns=2)


def _where_time_goes(report: Report) -> Sheet:
    parts = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")
    rows = tuple(
        (
            str(row["label"]),
            *(f"{row[part] / row['training_s']:.0%}" for part in parts),
            _percent(row["overlap_efficiency"]),
        )
        for row in _timed(report)
    )
    columns = ("Exp", "Wait", "Drain", "Learn", "Sync", "Checkpoint", "Other", "Overlap eff.")
    note = (
        "Overlap efficiency: prompts/s over what they would be if the busier of engine and learner never "
        "waited; the engine counts as busy while at least one request runs."
    )
    return Sheet("Where the learner's time goes", columns, rows, notes=(note,))


def _modes(report: Report) -> Sheet:
    rows = tuple((row["label"], row["sentence"]) for row in records(report.modes))
    return Sheet("Step times", ("Exp", "Modes"), rows, text_columns=2)


def _staleness(report: Report) -> Sheet:
    """Ages of trained groups, and what became of the others."""
    groups: dict[str, dict[str, int]] = {}
    for row in records(report.fates):
        groups.setdefault(row["run_name"], {})[row["fate"]] = row["groups"]
    kinds = ["trained", *sorted({fate for counts in groups.values() for fate in counts} - {"trained"})]
    rows = []
    for row in _timed(report):
        counts = groups.get(row["run_name"], {})
        bound = f"{_integer(row['off_policy_steps_max'])} of {_integer(row['max_staleness'])}"
        cells = (str(counts.get(kind, 0)) for kind in kinds)
        age = _number(row["off_policy_steps_mean"], ".2f")
        rows.append((row["label"], age, bound, *cells, _percent(row["trained_token_share"])))
    columns = (
        "Exp",
        "Mean\nage",
        "Oldest\nof bound",
        *(kind.capitalize() for kind in kinds),
        "Tokens\ntrained",
    )
    notes = [
        "Age: optimizer steps the learner was ahead of the policy that began a group (off_policy_steps)."
    ]
    if "discarded" in kinds:
        notes.append("Discarded: of an attempt that was cut off, its steps done again by a later one.")
    return Sheet("Staleness and the fate of groups", columns, tuple(rows), notes=tuple(notes))


def _accuracy(report: Report) -> Iterator[Sheet]:
    """The reference's table of exact match, one per task and filter."""
    default = default_filter_rows(report.accuracy)
    rest = report.accuracy.drop(default.index)  # both of lm-eval's filters are shown, the default one first
    for keys, part in pd.concat([default, rest]).groupby(["task", "metric", "filter"], sort=False):
        task, metric, filter_name = keys
        shots = sorted(part["num_fewshot"].unique())
        rows = []
        for label, model in part.groupby("label", sort=False):
            values = model.set_index("num_fewshot")["value_percent"]
            rows.append((str(label), *(_number(values.get(shot), ".2f") for shot in shots)))
        title = f"{str(metric).replace('_', ' ').capitalize()} (%), {task}, {filter_name}"
        yield Sheet(title, ("Model", *(f"{shot}-shot" for shot in shots)), tuple(rows))


def _deltas(report: Report) -> Iterator[Sheet]:
    """The reference's table of deltas with what each is worth, by the default filter; JSON has the others."""
    deltas = default_filter_rows(report.deltas)
    for keys, part in deltas.groupby(["against", "task", "metric", "filter"], sort=False):
        against, task, _, filter_name = keys
        shots = sorted(part["num_fewshot"].unique())
        rows = []
        for label, model in part.groupby("label", sort=False):
            by_shot = {row["num_fewshot"]: row for row in records(model)}
            cells = (_delta(by_shot[shot]) if shot in by_shot else NONE for shot in shots)
            other = () if against == "base" else (str(model["other_label"].iloc[0]),)
            rows.append((str(label), *other, *cells))
        title = f"Delta from the {OPPONENTS[str(against)]} (points), {task}, {filter_name}"
        names = ("Model",) if against == "base" else ("Model", "Against")
        columns = (*names, *(f"{shot}-shot" for shot in shots))
        yield Sheet(title, columns, tuple(rows), len(names), tuple(_delta_notes(part, report.margin_points)))


def _delta_notes(part: pd.DataFrame, margin_points: float) -> Iterator[str]:
    methods = " and ".join(sorted(part["method"].dropna().unique()))
    if methods:
        yield (
            f"▲ better, ▼ worse (Holm-adjusted p < 0.05), = equivalent within ±{margin_points:g}, "
            f"? inconclusive: only a difference ≥ the last line would have shown with 80 % power. "
            f"Brackets: 95 % interval, {methods}, not adjusted."
        )
    for row in records(part[part["verdict"] == "refused"]):
        why = f"settings differ: {row['refusal']}" if row["refusal"] else "no standard error and no samples"
        yield f"✗ {row['label']}, {row['num_fewshot']}-shot, not compared: {why}."


def _delta(row: Row) -> str:
    """`-0.38 ?`, its interval, and the least difference that would have shown."""
    mark = VERDICT_MARKS[str(row["verdict"])]
    if row["verdict"] == "refused":
        return mark
    lines = [f"{row['delta_points']:+.2f} {mark}", f"[{row['low']:+.1f}, {row['high']:+.1f}]"]
    if row["verdict"] == "inconclusive":
        lines.append(f"≥{row['detectable_points']:.1f}")
    return "\n".join(lines)


def _step_ratio(row: Row) -> str:
    if pd.isna(row["step_time_speedup"]):
        return NONE
    mark = "" if row["step_time_comparable"] else f" {_NOT_COMPARABLE}"
    return f"{row['step_time_speedup']:.2f}x{mark}"


def _ratio(row: Row, unit: str) -> str:
    """A ratio with its interval, or alone where there were too few cycles for one."""
    if pd.isna(row[f"{unit}_speedup"]):
        return NONE
    text = f"{row[f'{unit}_speedup']:.2f}x"
    low, high = row[f"{unit}_low"], row[f"{unit}_high"]
    return text if pd.isna(low) else f"{text} [{low:.2f}–{high:.2f}]"


def _duration(seconds: float) -> str:
    if pd.isna(seconds):
        return NONE
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _durations(seconds: float, others: float) -> str:
    """Two durations in one unit, that of the longer: `9.5 / 14.8 min`."""
    longest = max((value for value in (seconds, others) if not pd.isna(value)), default=0.0)
    unit, divisor = ("s", 1) if longest < 120 else ("min", 60)
    return f"{_number(seconds / divisor, '.1f')} / {_number(others / divisor, '.1f')} {unit}"


def _integer(value: float | None) -> str:
    return NONE if pd.isna(value) else f"{value:.0f}"


def _number(value: float | None, form: str) -> str:
    return NONE if pd.isna(value) else format(value, form)


def _percent(value: float | None) -> str:
    return _number(value, ".0%")
