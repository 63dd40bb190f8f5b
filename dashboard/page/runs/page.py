"""Runs: every run with its knobs, state and results; one in full, or two beside each other."""

from typing import Any

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from dashboard.choice import choose_rows
from dashboard.data import View
from dashboard.page.runs.detail import show_run
from dashboard.page.runs.pair import show_pair
from dashboard.shown import Columns, download, escaped, number, show_figure, show_table, text
from results.figures.colours import arm_styles
from results.figures.runs import speed_and_quality
from results.files.comparisons import OPPONENTS
from results.report.cells import NONE, value_text
from results.report.knobs import FOUR_KNOBS
from results.store import records
from results.tables.arms import arm_label
from results.tables.runs import (
    LEVELS,
    Measure,
    grouped_runs,
    headline_measure,
    opponent,
    runs_table,
    varying_columns,
)

MOST_KNOBS = 5
"""Columns that a table has room for; the CSV has them all."""
_MOST_ROWS = 14
_LABEL_PX, _VERDICT_PX = 100, 100
_RUNS, _ARM = "nothing", "arm"
_SHORT = {
    "max_staleness": "s",
    "prompts_per_optim_step": "B",
    "prompts_per_rollout_sync": "P",
    "optim.lr": "LR",
    "seed": "Seed",
}


def show(view: View) -> None:
    """Draws the page."""
    st.title("Runs")
    report = view.report
    four = [knob for knob in FOUR_KNOBS if knob in report.varying]
    knobs = list(dict.fromkeys([*four, *report.varying, *FOUR_KNOBS]))
    table = runs_table(
        view.experiments,
        report.configurations,
        knobs,
        speedups=report.speedups,
        accuracy=report.accuracy,
        deltas=report.deltas,
    )
    if table.empty:
        st.info("The filter in the sidebar leaves no run.")
        return
    first = table.groupby("arm_id")["label"].transform("first").fillna(table["label"])
    table = _with_published(view, table.assign(arm=first.map(arm_label)))
    by = _choose_grouping(view)
    if by == _RUNS:
        chosen = _runs(view, table, knobs)
        _chosen(view, table, chosen)
    else:
        _groups(view, table, by)
    _speed_and_quality(view, table)


def _choose_grouping(view: View) -> str:
    """Draws the choice of what a row is: a run, or all runs that share an arm or the value of a knob."""
    knobs = [knob for knob in view.report.varying if knob != "seed"]
    return str(
        st.selectbox(
            "Group by",
            [_RUNS, _ARM, *knobs],
            key="group_by",
            bind="query-params",
            width=320,
            help="An arm is all runs that differ only by seed.",
        )
    )


def _runs(view: View, table: pd.DataFrame, knobs: list[str]) -> list[str]:
    """A row per run; the names of those chosen."""
    differences = st.toggle(
        "Differences only",
        key="differences",
        bind="query-params",
        help="Hides the columns in which all runs shown agree.",
    )
    columns = _run_columns(table, knobs)
    if differences and len(table) > 1:
        varying = {*varying_columns(table[list(columns)]), "label"}
        columns = {name: column for name, column in columns.items() if name in varying}
    chosen = choose_rows(
        "show",
        _as_text(table, knobs),
        list(table["run_name"]),
        columns,
        mode="multi-row",
        most_rows=_MOST_ROWS,
        alt="Runs, one a row, with knobs, state and results",
    )
    left_out = f" {len(knobs) - MOST_KNOBS} more knobs are in the CSV." if len(knobs) > MOST_KNOBS else ""
    st.caption(escaped(_caption(view, table) + left_out))
    download(view, "runs", table.drop(columns="arm_id"))
    return chosen


def _chosen(view: View, table: pd.DataFrame, chosen: list[str]) -> None:
    rows = {row["run_name"]: row for row in records(table[table["run_name"].isin(chosen)])}
    if len(chosen) > 2:
        st.info(f"{len(chosen)} runs are chosen; two can be compared. These are the first two.")
    if len(chosen) == 1:
        show_run(view, rows[chosen[0]])
    elif chosen:
        show_pair(view, rows[chosen[0]], rows[chosen[1]])


def _groups(view: View, table: pd.DataFrame, by: str) -> None:
    """A row per arm or value of a knob: means over its finished runs."""
    grouped = grouped_runs(table, by)
    if by != _ARM:
        grouped[by] = [NONE if pd.isna(value) else value_text(value) for value in grouped[by]]
    levels = [level for level in LEVELS if grouped[level].notna().any()]
    columns: Columns = {
        by: text(by),
        "runs": number("Runs", "%d"),
        "finished": number("Finished", "%d"),
        **{name: column for level in levels for name, column in _level_columns(level).items()},
    }
    mixed = "" if by == _ARM else f" Runs that have the same {by} may differ in other knobs."
    show_table(
        view,
        "groups-of-runs",
        grouped,
        columns,
        f"Mean and standard deviation (±) over the finished runs of a row; no spread of a single run.{mixed}",
    )


def _speed_and_quality(view: View, table: pd.DataFrame) -> None:
    """The trade that the knobs make, of finished runs."""
    finished = table[table["state"] == "succeeded"]
    measure = headline_measure(view.report.accuracy)
    evaluated = measure is not None and finished["accuracy_percent"].notna().any()
    y = "accuracy_percent" if evaluated else "reward_last_fifth"
    drawn = finished.dropna(subset=["prompts_per_s", y])
    if drawn.empty:
        return
    st.subheader("Speed and quality")
    what = _accuracy_name(measure) if measure is not None and evaluated else "mean reward over the last fifth"
    show_figure(
        view,
        "speed-and-quality",
        speed_and_quality(drawn, arm_styles(view.report.experiments), y, what),
        drawn[["label", "run_name", "prompts_per_s", y]],
        f"Each finished run: prompts trained a second against its {what}; up and to the right is better. "
        f"Single runs without intervals: the pages Speed and Quality say which differences are real.",
    )


def _caption(view: View, table: pd.DataFrame) -> str:
    """What the columns are of."""
    report = view.report
    against, measure = opponent(report.speedups, report.deltas), headline_measure(report.accuracy)
    compared = {"prompts_per_s_speedup": "speed-up (prompts/s)", "verdict": "verdict"}
    present = [name for column, name in compared.items() if table[column].notna().any()]
    sentences = ["Choose a row to see a run in full, two to compare them."]
    if table["reward_last_fifth"].notna().any():
        sentences.append("Reward: mean over the last fifth of the steps.")
    if against and present:
        sentences.append(f"{' and '.join(present).capitalize()}: against the {OPPONENTS[against]}.")
    if measure:
        sentences.append(f"Accuracy: {_accuracy_name(measure)}, {measure.task}, filter {measure.filter}.")
    return " ".join(sentences)


def _accuracy_name(measure: Measure) -> str:
    return f"{measure.metric.replace('_', ' ')}, {measure.num_fewshot}-shot (%)"


def _with_published(view: View, table: pd.DataFrame) -> pd.DataFrame:
    """What others published of a run stands in a column of its own, never among measurements."""
    published = view.report.published_speed
    if published.empty:
        return table
    return table.assign(
        published_step_s=table["run_name"].map(published.set_index("run_name")["step_mean_s"])
    )


def _as_text(table: pd.DataFrame, knobs: list[str]) -> pd.DataFrame:
    """Knobs that are no numbers as a spec has them, and the state with how far a run has come."""
    words = [knob for knob in knobs if table[knob].dtype == object]
    done = table["state"].isin(["succeeded", "infeasible", "pending"])
    return table.assign(
        state=table["state"].where(done, table["state"] + ", " + table["progress"]),
        **{knob: table[knob].map(value_text) for knob in words},
    )


def _run_columns(table: pd.DataFrame, knobs: list[str]) -> Columns:
    """Columns with a value in any row."""
    columns: Columns = {
        "label": text("Run", width=_LABEL_PX),
        "state": text("State"),
        **{knob: _knob_column(knob, table[knob]) for knob in knobs[:MOST_KNOBS]},
        "step_mean_s": number("Step (s)", "%.2f", "mean step time"),
        "published_step_s": number("Published step (s)", "%.2f", "as published elsewhere, not measured here"),
        "prompts_per_s": number("Prompts/s", "%.3f"),
        "prompts_per_s_speedup": number("Speed-up", "%.2f×", "prompts/s over those of the other run"),
        "reward_last_fifth": number("Reward", "%.3f", "mean over the last fifth of the steps"),
        "accuracy_percent": number("Acc. (%)", "%.2f", "accuracy"),
        "verdict": text("Verdict", width=_VERDICT_PX),
    }
    return {name: column for name, column in columns.items() if name in table and table[name].notna().any()}


def _knob_column(knob: str, values: "pd.Series[Any]") -> ColumnConfig:
    name = _SHORT.get(knob, knob.rpartition(".")[2])
    return text(name, knob) if values.dtype == object else number(name, "%g", knob)


def _level_columns(level: str) -> Columns:
    """Mean and spread of a result."""
    name, form = {
        "step_mean_s": ("Step (s)", "%.2f"),
        "prompts_per_s": ("Prompts/s", "%.3f"),
        "reward_last_fifth": ("Reward", "%.3f"),
        "accuracy_percent": ("Accuracy (%)", "%.2f"),
    }[level]
    return {level: number(name, form), f"{level}_std": number("±", form, "standard deviation over runs")}
