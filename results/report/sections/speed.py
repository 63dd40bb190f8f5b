"""How fast, and why: the reference's table, every unit of speed, step times, where the time goes."""

from collections.abc import Iterator

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.report.cells import (
    NONE,
    Row,
    duration,
    durations,
    number,
    percent,
    ratio,
)
from results.report.document import Section, Sentences, Sheet
from results.store import records
from results.tables.speed import REWARD_WINDOW_STEPS

_NOT_COMPARABLE = "†"
"""Beside a ratio of step times of steps that train different numbers of prompts."""


def speed_sections(report: Report) -> Iterator[Section]:
    """Training speed, step times, observations; none while no run has done a step."""
    timed = records(report.experiments[report.experiments["training_s"].notna()])
    speed: list[Sheet] = []
    times: list[Sheet] = []
    if timed:
        speed += [_training(report, timed), *_speedups(report)]
        times += [_step_times(report), _where_time_goes(timed)]
    if (report.arm_speedups["seeds"] > 1).any():
        speed.append(_arms(report))
    if len(report.published_speed):
        speed.append(_published(report))
        speed += _published_twins(report)
    if len(report.published_step_times):
        rows = tuple((row["label"], row["text"]) for row in records(report.published_step_times))
        times.append(Sheet("Step times as published", ("Exp", "Spread"), rows, text_columns=2))
    if speed:
        yield Section("Training speed", tuple(speed))
    if times:
        yield Section("Step time distribution", tuple(times))
    if report.speed_observations:
        yield Section("Key observations", (Sentences(report.speed_observations),))


def _training(report: Report, timed: list[Row]) -> Sheet:
    """The reference's table, with throughput and its interval beside every ratio of step times."""
    against = {row["run_name"]: row for row in records(report.speedups) if row["against"] == "reference"}
    references = {row["other_run"] for row in against.values()}
    rows, ranks = [], []
    for row in timed:
        other = against.get(row["run_name"])
        if other is not None:
            value, mark = other["step_time_speedup"], _mark(other)
            shown = NONE if pd.isna(value) else f"{value:.2f}x{mark}"
            cells = shown, _ratio(other, "prompts_per_s")
        elif row["run_name"] in references:
            cells = "1.00x (ref.)", "1.00x (reference)"
        else:
            cells = NONE, NONE
        mean = f"{row['step_mean_s']:.4g}s ± {number(row['step_std_s'], '.2g')}"
        rows.append(
            (
                row["label"],
                duration(row["training_s"]),
                mean,
                cells[0],
                f"{row['prompts_per_s']:.4g}",
                cells[1],
            )
        )
        ranks.append(float(row["prompts_per_s"]))
    columns = (
        *("Exp", "Training\ntime", "Mean step ± std", "Step-time\nspeedup"),
        *("Prompts/s", "Prompts/s speedup"),
    )
    return Sheet("", columns, tuple(rows), notes=tuple(_training_notes(report)), ranks=tuple(ranks))


def _training_notes(report: Report) -> Iterator[str]:
    yield (
        f"Speedups against the {OPPONENTS['reference']}. That of step times is over all steps, as it is "
        "usually published, and has no interval; that of prompts/s is over whole sync cycles after "
        "the first. Brackets: 95 % interval within this run."
    )
    if not report.speedups["step_time_comparable"].astype("boolean").fillna(True).all():
        yield f"{_NOT_COMPARABLE} not comparable: the two runs' steps train different numbers of prompts."


def _speedups(report: Report) -> Iterator[Sheet]:
    """All units side by side, against the twin and against the reference, never mixed."""
    compared = [against for against in OPPONENTS if (report.speedups["against"] == against).any()]
    for against in compared:
        part = report.speedups[report.speedups["against"] == against]
        rows = tuple(
            (
                row["label"],
                row["other_label"],
                ratio(
                    row["step_time_cycles_speedup"], row["step_time_low"], row["step_time_high"], _mark(row)
                ),
                _ratio(row, "prompts_per_s"),
                _ratio(row, "completion_tokens_per_s"),
                _time_to_reward(row),
            )
            for row in records(part)
        )
        columns = ("Exp", "Against", "Step time", "Prompts/s", "Trained\ntokens/s", "Time to reward")
        ranks = tuple(part["prompts_per_s_speedup"].fillna(0).astype(float))
        notes = tuple(_units_notes()) if against == compared[-1] else ()
        yield Sheet(f"Speedup against the {OPPONENTS[against]}", columns, rows, 2, notes, ranks)


def _units_notes() -> Iterator[str]:
    yield "All but the last over whole sync cycles after the first; brackets: 95 % interval."
    yield (
        "Time to reward: the other's training time over this run's until the trailing mean of "
        f"{REWARD_WINDOW_STEPS} steps reached the other's mean over its last fifth; < and > where one of the "
        f"two ended first, {NONE} where both did or the other's reward did not rise. It has no interval: "
        "a run reaches a reward once."
    )


def _time_to_reward(row: Row) -> str:
    """`1.40x (20.1 / 14.3 min)`; a bound where only one of the two runs got there."""
    if pd.isna(row["time_to_reward_speedup"]):
        return NONE
    bound = "" if pd.isna(row["time_to_reward_bound"]) else f"{row['time_to_reward_bound']} "
    times = durations(row["other_time_to_reward_s"], row["time_to_reward_s"])
    return f"{bound}{row['time_to_reward_speedup']:.2f}x\n({times})"


def _arms(report: Report) -> Sheet:
    """Each arm over its seeds: an interval from three, a range of two."""
    rows = tuple(
        (
            row["label"],
            f"{OPPONENTS[str(row['against'])]} {row['other_label']}",
            str(row["seeds"]),
            *(_over_seeds(row, unit) for unit in ("step_time", "prompts_per_s", "completion_tokens_per_s")),
        )
        for row in records(report.arm_speedups)
    )
    columns = ("Arm", "Against", "Seeds", "Step time", "Prompts/s", "Trained\ntokens/s")
    note = (
        "Geometric means over seeds, each against its twin of the same seed. Brackets: 95 % t-interval over "
        "seeds from three on; of two seeds their range, (a, b); of one the interval within its run, marked *."
    )
    ranks = tuple(report.arm_speedups["prompts_per_s_speedup"].fillna(0).astype(float))
    return Sheet("Speedup over seeds", columns, rows, 2, (note,), ranks)


def _over_seeds(row: Row, unit: str) -> str:
    mark = _mark(row) if unit == "step_time" else ""
    value, low, high = (row[f"{unit}_{name}"] for name in ("speedup", "low", "high"))
    if row["seeds"] == 2 and not pd.isna(value):
        return f"{value:.2f}x{mark}\n({row[f'{unit}_least']:.2f}, {row[f'{unit}_most']:.2f})"
    star = "*" if row["seeds"] == 1 and not pd.isna(low) else ""
    return ratio(value, low, high, mark) + star


def _published(report: Report) -> Sheet:
    """The table of a publication, with what the rounding of its figures allows."""
    rows = tuple(
        (
            row["label"],
            duration(row["training_time_s"]),
            number(row["step_mean_s"], "g") + ("" if pd.isna(row["step_mean_s"]) else "s"),
            _rounded(row, "step_time_speedup", _mark(row)),
            number(row["prompts_per_s"], ".3g"),
            _rounded(row, "prompts_per_s_speedup"),
        )
        for row in records(report.published_speed)
    )
    columns = (
        *("Exp", "Training\ntime", "Mean\nstep", "Step-time\nspeedup", "Prompts/s", "Prompts/s\nspeedup"),
    )
    notes = [
        f"As published elsewhere, not measured here; speedups against the {OPPONENTS['reference']}. "
        "Brackets: what the rounding of the published figures allows, which is no confidence interval."
    ]
    if not report.published_speed["step_time_comparable"].astype("boolean").fillna(True).all():
        notes.append(
            f"{_NOT_COMPARABLE} not comparable: the two runs' steps train different numbers of prompts."
        )
    return Sheet("Published speed", columns, rows, notes=tuple(notes))


def _published_twins(report: Report) -> Iterator[Sheet]:
    """Against runs that agree in all knobs but those of the baseline: what asynchrony alone was worth."""
    twins = report.published_speedups[report.published_speedups["against"] == "baseline"]
    rows = tuple(
        (
            row["label"],
            row["other_label"],
            *(
                _rounded(row, name)
                for name in ("training_time_ratio", "step_time_speedup", "prompts_per_s_speedup")
            ),
        )
        for row in records(twins)
    )
    columns = ("Exp", "Against", "Training\ntime", "Step time", "Prompts/s")
    if rows:
        yield Sheet(f"Published speedup against the {OPPONENTS['baseline']}", columns, rows, text_columns=2)


def _rounded(row: Row, name: str, mark: str = "") -> str:
    if pd.isna(row[name]):
        return NONE
    if row["other_run"] == row["run_name"]:
        return "1x (ref.)"
    decimals = int(row[f"{name}_decimals"])
    return f"{row[name]:.{decimals}f}x{mark}\n[{row[f'{name}_low']:.3f}–{row[f'{name}_high']:.3f}]"


def _where_time_goes(timed: list[Row]) -> Sheet:
    parts = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")
    rows = tuple(
        (
            str(row["label"]),
            *(percent(row[part] / row["training_s"]) for part in parts),
            percent(row["overlap_efficiency"]),
        )
        for row in timed
    )
    columns = ("Exp", "Wait", "Drain", "Learn", "Sync", "Checkpoint", "Other", "Overlap eff.")
    note = (
        "Overlap efficiency: prompts/s over what they would be if the busier of engine and learner never "
        "waited; the engine counts as busy while at least one request runs."
    )
    ranks = tuple(float(row["overlap_efficiency"] or 0) for row in timed)
    return Sheet("Where the learner's time goes", columns, rows, notes=(note,), ranks=ranks)


def _step_times(report: Report) -> Sheet:
    rows = tuple((row["label"], row["sentence"]) for row in records(report.modes))
    return Sheet("Step times", ("Exp", "Modes"), rows, text_columns=2)


def _mark(row: Row) -> str:
    return "" if row["step_time_comparable"] else f" {_NOT_COMPARABLE}"


def _ratio(row: Row, unit: str) -> str:
    return ratio(row[f"{unit}_speedup"], row[f"{unit}_low"], row[f"{unit}_high"])
