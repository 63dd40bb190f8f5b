"""What was predicted of the runs before their first step, beside what was measured."""

from collections.abc import Iterator

import pandas as pd

from results.report.build import Report
from results.report.cells import NONE, Row, duration, number, ratio, significant
from results.report.document import Cells, Rows, Section, Sentences, Sheet
from results.store import records

_NAME = "Predicted and measured"


def plan_sections(report: Report) -> Iterator[Section]:
    """Step times, speed, staleness and idle time, each predicted and measured; none without predictions."""
    if report.plan.empty:
        return
    rows = records(report.plan)
    yield Section(
        _NAME,
        (
            Sentences(report.plan_observations),
            _step_times(rows),
            *_arms(report.plan_arms),
            _speed(rows),
            _staleness(rows),
            Sentences(_sentences(rows)),
        ),
    )


def _step_times(rows: list[Row]) -> Sheet:
    def cells(row: Row) -> Cells:
        ends = f"[{significant(row['step_low_s'], 3)}–{significant(row['step_high_s'], 3)}]"
        return (
            row["label"],
            f"{significant(row['predicted_step_s'], 3)}\n{ends}",
            significant(row["measured_step_s"], 3),
            number(row["step_error"], "+.1%"),
            f"{_modes(row['predicted_modes'])}\n{_modes(row['measured_modes'])}",
            *(_both(row, f"{part}_s", "#.3g") for part in ("wait", "learn")),
        )

    columns = ("Exp", "Mean step (s)\npredicted", "measured", "Error", "Modes (s)", "Wait (s)", "Learn (s)")
    notes = (
        "Brackets: where chance alone puts the mean of 95 % of runs with these costs. Error: predicted over "
        "measured, less 100 %. In the other columns the first line is predicted, the second measured.",
        "Of a run that is not done, what is measured is of the steps so far.",
    )
    return Sheet("Step times, predicted and measured", columns, Rows(rows, cells), notes=notes)


def _arms(arms: pd.DataFrame) -> Iterator[Sheet]:
    """Where several seeds were predicted, their means."""
    if not (arms["seeds"] > 1).any():
        return

    def cells(row: Row) -> Cells:
        return (
            row["label"],
            str(row["seeds"]),
            significant(row["predicted_step_s"], 3),
            significant(row["measured_step_s"], 3),
            _range(row, "low", "high"),
            _range(row, "least", "most"),
            number(row["step_error"], "+.1%"),
        )

    columns = ("Arm", "Seeds", "Mean step (s)\npredicted", "measured", "95 %", "Range", "Error")
    note = (
        "Means over seeds, each of a run's mean step time; the interval, from three seeds on, is of the "
        "measured one. Runs of one arm differ by what their machine did at the time, too."
    )
    yield Sheet(
        "Step times by arm, predicted and measured", columns, Rows(records(arms), cells), notes=(note,)
    )


def _range(row: Row, *ends: str) -> str:
    low, high = (significant(row[f"measured_step_{end}"], 3) for end in ends)
    return f"{low}–{high}" if low != NONE else NONE


def _speed(rows: list[Row]) -> Sheet:
    def cells(row: Row) -> Cells:
        return (
            row["label"],
            significant(row["predicted_prompts_per_s"], 3),
            significant(row["measured_prompts_per_s"], 3),
            number(row["predicted_speedup"], ".2f"),
            ratio(row["measured_speedup"], row["speedup_low"], row["speedup_high"]),
            duration(row["predicted_wall_s"]),
            duration(row["measured_wall_s"]),
        )

    columns = (
        *("Exp", "Prompts/s\npredicted", "measured", "Speedup\npredicted", "measured"),
        *("Training\npredicted", "measured"),
    )
    note = (
        "Speedup: prompts/s against the matched baseline, predicted over all steps, measured over whole sync "
        "cycles after the first, with its 95 % interval."
    )
    return Sheet("Speed, predicted and measured", columns, Rows(rows, cells), notes=(note,))


def _staleness(rows: list[Row]) -> Sheet:
    forms = {
        "age_mean": ".2f",
        "wasted_token_share": ".0%",
        "dispatched_per_trained": ".2f",
        "engine_idle_share": ".0%",
        "learner_idle_share": ".0%",
        "latency_s": "#.3g",
    }

    def cells(row: Row) -> Cells:
        return row["label"], *(_both(row, name, form) for name, form in forms.items())

    columns = (
        *("Exp", "Mean\nage", "Wasted\ntokens", "Groups a\ntrained one"),
        *("Engine\nidle", "Learner\nidle", "Latency (s)"),
    )
    note = (
        "Predicted above, measured below. Latency: from a group's dispatch to the end of its generation. "
        "Idle: shares of the training time."
    )
    return Sheet("Staleness and idle time, predicted and measured", columns, Rows(rows, cells), notes=(note,))


def _sentences(rows: list[Row]) -> tuple[str, ...]:
    """What is to be said of each run; failed assumptions first, the largest error before the others."""
    failed = [row for row in rows if row["failed_assumption"] is not None]
    others = [row for row in rows if row["failed_assumption"] is None]
    ranked = sorted(failed, key=lambda row: -abs(row["step_error"]))
    return tuple(row["sentence"] for row in (*ranked, *others))


def _both(row: Row, name: str, form: str) -> str:
    return "\n".join(number(row[f"{kind}_{name}"], form).rstrip(".") for kind in ("predicted", "measured"))


def _modes(seconds: list[float]) -> str:
    return ", ".join(significant(each, 3) for each in seconds) or NONE
