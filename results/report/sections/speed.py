"""How fast, and why: the reference's table, every unit of speed, step times, where the time goes."""

from collections.abc import Iterator, Mapping

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.report.cells import (
    NONE,
    Row,
    duration,
    durations,
    percent,
    ratio,
    significant,
    unlike_steps,
)
from results.report.compared import opponents
from results.report.document import Cells, Rows, Section, Sentences, Sheet
from results.report.sections.published import published_speed_sheets, published_step_times_sheet
from results.store import records
from results.tables.speed import NOT_COMPARABLE, REWARD_WINDOW_STEPS


def speed_sections(report: Report) -> Iterator[Section]:
    """Training speed, step times, observations; none while no run has done a step."""
    names = opponents(report.speedups)
    timed = records(report.experiments[report.experiments["training_s"].notna()])
    speed: list[Sheet] = []
    times: list[Sheet] = []
    if timed:
        speed += [_training(report, timed), *_speedups(report, names)]
        times += [_step_times(report), _where_time_goes(timed)]
    if (report.arm_speedups["seeds"] > 1).any():
        speed.append(_arms(report, names))
    speed += published_speed_sheets(report)
    times += published_step_times_sheet(report)
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

    def cells(row: Row) -> Cells:
        times, prompts = _against_reference(against.get(row["run_name"]), row["run_name"] in references)
        mean = f"{significant(row['step_mean_s'], 4)} s ± {significant(row['step_std_s'], 2)}"
        speed = significant(row["prompts_per_s"], 4)
        return row["label"], duration(row["training_s"]), mean, times, speed, prompts

    columns = (
        *("Exp", "Training\ntime", "Mean step ± std", "Step-time\nspeedup,\nall steps"),
        *("Prompts/s", "Prompts/s\nspeedup,\nsync cycles"),
    )
    ranks = tuple(float(row["prompts_per_s"]) for row in timed)
    return Sheet("", columns, Rows(timed, cells), notes=tuple(_training_notes(report)), ranks=ranks)


def _against_reference(ratios: Row | None, is_reference: bool) -> tuple[str, str]:
    """The ratios of step times and of prompts/s, of a run and the reference run."""
    if ratios is None:
        return ("1.00x (ref.)", "1.00x (ref.)") if is_reference else (NONE, NONE)
    value = ratios["step_time_speedup"]
    return NONE if pd.isna(value) else f"{value:.2f}x{unlike_steps(ratios)}", _ratio(ratios, "prompts_per_s")


def _training_notes(report: Report) -> Iterator[str]:
    yield (
        f"Speedups against the {OPPONENTS['reference']}. That of step times is over all steps, as it is "
        "usually published, and has no interval; that of prompts/s is over whole sync cycles after "
        "the first. Brackets: 95 % interval within this run."
    )
    if not report.speedups["step_time_comparable"].astype("boolean").fillna(True).all():
        yield f"{NOT_COMPARABLE} not comparable: the two runs' steps train different numbers of prompts."


def _speedups(report: Report, names: Mapping[str, str]) -> Iterator[Sheet]:
    """All units side by side, against the twin and against the reference, never mixed."""
    for against, name in names.items():
        part = report.speedups[report.speedups["against"] == against]
        rows = Rows(records(part), _speedup_cells)
        columns = (
            *("Exp", "Against", "Step time,\nsync cycles", "Prompts/s", "Trained\ntokens/s"),
            "Time to reward",
        )
        ranks = tuple(part["prompts_per_s_speedup"].fillna(0).astype(float))
        notes = tuple(_units_notes()) if against == list(names)[-1] else ()
        yield Sheet(f"Speedup against the {name}", columns, rows, 2, notes, ranks)


def _speedup_cells(row: Row) -> Cells:
    cycles, low, high = (row[f"step_time_{name}"] for name in ("cycles_speedup", "low", "high"))
    return (
        row["label"],
        row["other_label"],
        ratio(cycles, low, high, unlike_steps(row)),
        _ratio(row, "prompts_per_s"),
        _ratio(row, "completion_tokens_per_s"),
        _time_to_reward(row),
    )


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


def _arms(report: Report, names: Mapping[str, str]) -> Sheet:
    """Each arm over its seeds: an interval from three, a range of two."""
    table = report.arm_speedups[report.arm_speedups["against"].isin(list(names))]
    rows = Rows(records(table), _arm_cells)
    columns = ("Arm", "Against", "Seeds", "Step time,\nall steps", "Prompts/s", "Trained\ntokens/s")
    note = (
        "Geometric means over seeds, each against its twin of the same seed. Brackets: 95 % t-interval over "
        "seeds from three on; of two seeds their range, (a, b); of one the interval within its run, marked *."
    )
    ranks = tuple(table["prompts_per_s_speedup"].fillna(0).astype(float))
    return Sheet("Speedup over seeds", columns, rows, 2, (note,), ranks)


def _arm_cells(row: Row) -> Cells:
    ratios = (_over_seeds(row, unit) for unit in ("step_time", "prompts_per_s", "completion_tokens_per_s"))
    return row["label"], f"{OPPONENTS[row['against']]} {row['other_label']}", str(row["seeds"]), *ratios


def _over_seeds(row: Row, unit: str) -> str:
    mark = unlike_steps(row) if unit == "step_time" else ""
    value, low, high = (row[f"{unit}_{name}"] for name in ("speedup", "low", "high"))
    if row["seeds"] == 2 and not pd.isna(value):
        return f"{value:.2f}x{mark}\n({row[f'{unit}_least']:.2f}, {row[f'{unit}_most']:.2f})"
    star = "*" if row["seeds"] == 1 and not pd.isna(low) else ""
    return ratio(value, low, high, mark) + star


def _where_time_goes(timed: list[Row]) -> Sheet:
    parts = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")

    def cells(row: Row) -> Cells:
        shares = (percent(row[part] / row["training_s"]) for part in parts)
        return row["label"], *shares, percent(row["overlap_efficiency"])

    columns = ("Exp", "Wait", "Drain", "Learn", "Sync", "Checkpoint", "Other", "Overlap eff.")
    note = (
        "Overlap efficiency: prompts/s over what they would be if the busier of engine and learner never "
        "waited; the engine counts as busy while at least one request runs."
    )
    ranks = tuple(float(row["overlap_efficiency"] or 0) for row in timed)
    return Sheet("Where the learner's time goes", columns, Rows(timed, cells), notes=(note,), ranks=ranks)


def _step_times(report: Report) -> Sheet:
    rows = tuple((row["label"], row["sentence"]) for row in records(report.modes))
    return Sheet("Step times", ("Exp", "Modes"), rows, text_columns=2)


def _ratio(row: Row, unit: str) -> str:
    return ratio(row[f"{unit}_speedup"], row[f"{unit}_low"], row[f"{unit}_high"])
