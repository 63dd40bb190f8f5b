"""Speed as it was published elsewhere, in tables of its own, with what the rounding of its figures allows."""

from collections.abc import Iterator

import pandas as pd

from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.report.cells import (
    NONE,
    Row,
    duration,
    published_ratio,
    significant,
    unlike_steps,
)
from results.report.compared import opponents
from results.report.document import Cells, Rows, Sheet
from results.store import records
from results.tables.speed import NOT_COMPARABLE

_ROUNDING = "Brackets: what the rounding of the published figures allows, which is no confidence interval."


def published_speed_sheets(report: Report) -> Iterator[Sheet]:
    """The table of a publication, with ratios against its reference run; then those against others."""
    if report.published_speed.empty:
        return
    names = opponents(report.published_speedups)
    if "reference" not in names and (report.published_speedups["against"] == "reference").any():
        yield _table(report, names.pop("baseline"))  # which is the reference run as well
    else:
        yield _table(report, names.pop("reference", OPPONENTS["reference"]))
    for against, name in names.items():
        yield _ratios(report.published_speedups, against, name)


def published_step_times_sheet(report: Report) -> Iterator[Sheet]:
    """What was published of the spread of step times, in its own words."""
    if len(report.published_step_times):
        rows = tuple((row["label"], row["text"]) for row in records(report.published_step_times))
        yield Sheet("Step times as published", ("Exp", "Spread"), rows, text_columns=2)


def _table(report: Report, reference: str) -> Sheet:
    """
    Args:
        report: with `published_speed`.
        reference: what the run is called that its ratios are against.
    """
    columns = (
        *("Exp", "Training\ntime", "Mean\nstep", "Step-time\nspeedup,\npublished"),
        *("Prompts/s", "Prompts/s\nspeedup"),
    )
    notes = [
        f"As published elsewhere, not measured here; ratios of published means, against the {reference}, to "
        f"the decimals that are certain. {_ROUNDING}"
    ]
    if not report.published_speed["step_time_comparable"].astype("boolean").fillna(True).all():
        notes.append(
            f"{NOT_COMPARABLE} not comparable: the two runs' steps train different numbers of prompts."
        )
    rows = Rows(records(report.published_speed), _speed_cells)
    return Sheet("Published speed", columns, rows, notes=tuple(notes))


def _speed_cells(row: Row) -> Cells:
    mean = row["step_mean_s"]
    return (
        row["label"],
        duration(row["training_time_s"]),
        NONE if pd.isna(mean) else f"{mean:g} s",
        _rounded(row, "step_time_speedup", unlike_steps(row)),
        significant(row["prompts_per_s"], 3),
        _rounded(row, "prompts_per_s_speedup"),
    )


def _ratios(published: pd.DataFrame, against: str, name: str) -> Sheet:
    """Against matched baselines: what asynchrony alone was worth."""
    rows = Rows(records(published[published["against"] == against]), _ratio_cells)
    columns = ("Exp", "Against", "Training\ntime", "Step time,\npublished", "Prompts/s")
    return Sheet(f"Published speedup against the {name}", columns, rows, 2)


def _ratio_cells(row: Row) -> Cells:
    ratios = ("training_time_ratio", "step_time_speedup", "prompts_per_s_speedup")
    return row["label"], row["other_label"], *(_rounded(row, name) for name in ratios)


def _rounded(row: Row, name: str, mark: str = "") -> str:
    if pd.isna(row[name]):
        return NONE
    if row["other_run"] == row["run_name"]:
        return "1.00x (ref.)"
    value, ends = published_ratio(row, name)
    return f"{value}{mark}\n[{ends}]"
