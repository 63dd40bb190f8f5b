"""Runs: every run with its knobs, state and results; one in full, or two beside each other."""

from collections.abc import Sequence
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
from results.report.cells import NONE, counted, value_text
from results.report.knobs import FOUR_KNOBS, varying_keys
from results.store import records
from results.tables.arms import arm_label
from results.tables.runs import (
    LEVELS,
    Measure,
    grouped_runs,
    measures,
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
    with st.container(horizontal=True):
        by = _choose_grouping(view)
        measure = _choose_measure(report.accuracy)
    table = runs_table(
        view.experiments,
        report.configurations,
        knobs,
        speedups=report.speedups,
        accuracy=report.accuracy,
        deltas=report.deltas,
        measure=measure,
    )
    if table.empty:
        st.info("The filter in the sidebar leaves no run.")
        return
    first = table.groupby("arm_id")["label"].transform("first").fillna(table["label"])
    table = _with_published(view, table.assign(arm=first.map(arm_label)))
    if by == _RUNS:
        chosen = _runs(view, table, knobs, measure)
        _chosen(view, table, chosen)
    else:
        _groups(view, table, by, measure)
    _speed_and_quality(view, table, measure)


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


def _choose_measure(accuracy: pd.DataFrame) -> Measure | None:
    """What accuracy and verdicts are of, by default the most worked examples; None: nothing is evaluated."""
    names = {" · ".join((*each[:3], _shots(each))): each for each in measures(accuracy)}
    if not names:
        return None
    return names[st.selectbox("Accuracy", list(names), key="accuracy", bind="query-params", width=480)]


def _shots(measure: Measure) -> str:
    return f"{measure.num_fewshot}-shot"


def _runs(view: View, table: pd.DataFrame, knobs: list[str], measure: Measure | None) -> list[str]:
    """A row per run; the names of those chosen."""
    differences = st.toggle(
        "Differences only",
        key="differences",
        bind="query-params",
        help="Hides the knobs and results in which all runs shown agree; what a run has not says nothing.",
    )
    possible = _run_columns(table, knobs, measure)
    agreed = _agreed(view, table, possible, knobs) if differences and len(table) > 1 else []
    # What agrees goes first, so that a knob that differs has its place.
    left = [knob for knob in knobs if knob in possible and knob not in agreed]
    unseen = left[MOST_KNOBS:]
    columns = {name: column for name, column in possible.items() if name not in {*agreed, *unseen}}
    chosen = choose_rows(
        "show",
        _as_text(table, left),
        list(table["run_name"]),
        columns,
        mode="multi-row",
        most_rows=_MOST_ROWS,
        alt="Runs, one a row, with knobs, state and results",
        written={knob: _number_text for knob in left[:MOST_KNOBS] if table[knob].dtype == "Float64"},
    )
    words = [_caption(view, table, measure)]
    if unseen:
        words.append(f"{counted(len(unseen), 'more knob')} in the CSV.")
    if differences and len(table) > 1:
        words.append(_agreement(table, {name: possible[name] for name in agreed}))
    last = list(columns.values())[-1]
    words.append(f"In a narrow window the table scrolls sideways; its last column is {_heading(last)}.")
    st.caption(escaped(" ".join(words)))
    download(view, "runs", table.drop(columns="arm_id"))
    return chosen


def _agreed(view: View, table: pd.DataFrame, columns: Columns, knobs: Sequence[str]) -> list[str]:
    """The columns, of knobs and results, in which all runs shown agree."""
    # A knob may be null, which is a value; of a result it is none.
    vary = {"label", *varying_keys([view.report.configurations.get(run, {}) for run in table["run_name"]])}
    vary.update(varying_columns(table[[name for name in columns if name not in knobs]]))
    return [name for name in columns if name not in vary]


def _agreement(table: pd.DataFrame, hidden: Columns) -> str:
    """What is hidden, with the value that all share."""
    same = [
        f"{_heading(column)} {value_text(table[name].dropna().iloc[0])}" for name, column in hidden.items()
    ]
    return f"The same in all and hidden: {', '.join(same)}." if same else "No column is the same in all."


def _heading(column: str | ColumnConfig) -> str:
    return column if isinstance(column, str) else str(column["label"])


def _number_text(value: float) -> str:
    """As a spec has it: `1.5e-05`."""
    return value_text(float(value))


def _chosen(view: View, table: pd.DataFrame, chosen: list[str]) -> None:
    rows = {row["run_name"]: row for row in records(table[table["run_name"].isin(chosen)])}
    if len(chosen) > 2:
        st.info(f"{len(chosen)} runs are chosen; two can be compared. These are the first two.")
    if len(chosen) == 1:
        show_run(view, rows[chosen[0]])
    elif chosen:
        show_pair(view, rows[chosen[0]], rows[chosen[1]])


def _groups(view: View, table: pd.DataFrame, by: str, measure: Measure | None) -> None:
    """A row per arm or value of a knob: means over its finished runs."""
    grouped = grouped_runs(table, by)
    if by != _ARM:
        grouped[by] = [NONE if pd.isna(value) else value_text(value) for value in grouped[by]]
    levels = [level for level in LEVELS if grouped[level].notna().any()]
    columns: Columns = {
        by: text(by),
        "runs": number("Runs", "%d"),
        "finished": number("Finished", "%d"),
        **{name: column for level in levels for name, column in _level_columns(level, measure).items()},
    }
    mixed = "" if by == _ARM else f" Runs that have the same {by} may differ in other knobs."
    show_table(
        view,
        "groups-of-runs",
        grouped,
        columns,
        f"Mean and standard deviation (±) over the finished runs of a row; no spread of a single run.{mixed}",
    )


def _speed_and_quality(view: View, table: pd.DataFrame, measure: Measure | None) -> None:
    """The trade that the knobs make, of finished runs."""
    finished = table[table["state"] == "succeeded"]
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
        title=f"speed and {what}",
    )


def _caption(view: View, table: pd.DataFrame, measure: Measure | None) -> str:
    """What the columns are of."""
    against = opponent(view.report.speedups, view.report.deltas)
    compared = {"prompts_per_s_speedup": "speed-up (prompts/s)", "verdict": "verdict"}
    present = [name for column, name in compared.items() if table[column].notna().any()]
    sentences = ["Choose a row to see a run in full, two to compare them."]
    if table["reward_last_fifth"].notna().any():
        sentences.append("Reward: mean over the last fifth of the steps.")
    if against and present:
        sentences.append(f"{' and '.join(present).capitalize()}: against the {OPPONENTS[against]}.")
    if measure:
        what = (
            "Accuracy and verdict" if "verdict" in compared and table["verdict"].notna().any() else "Accuracy"
        )
        sentences.append(f"{what}: {_accuracy_name(measure)}, {measure.task}, filter {measure.filter}.")
    return " ".join(sentences)


def _accuracy_name(measure: Measure) -> str:
    return f"{measure.metric.replace('_', ' ')}, {_shots(measure)} (%)"


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


def _run_columns(table: pd.DataFrame, knobs: Sequence[str], measure: Measure | None) -> Columns:
    """Columns with a value in any row."""
    shots = _shots(measure) if measure else "accuracy"
    columns: Columns = {
        "label": text("Run", width=_LABEL_PX),
        "state": text("State"),
        **{knob: _knob_column(knob, table[knob]) for knob in knobs},
        "step_mean_s": number("Step (s)", "%.2f", "mean step time"),
        "published_step_s": number("Published step (s)", "%.2f", "as published elsewhere, not measured here"),
        "prompts_per_s": number("Prompts/s", "%.3f"),
        "prompts_per_s_speedup": number("Speed-up", "%.2f×", "prompts/s over those of the other run"),
        "reward_last_fifth": number("Reward", "%.3f", "mean over the last fifth of the steps"),
        "accuracy_percent": number(f"{shots} (%)", "%.2f", "accuracy"),
        "verdict": text(f"Verdict, {shots}", width=_VERDICT_PX),
    }
    return {name: column for name, column in columns.items() if name in table and table[name].notna().any()}


def _knob_column(knob: str, values: "pd.Series[Any]") -> ColumnConfig:
    name = _SHORT.get(knob, knob.rpartition(".")[2])
    if values.dtype == "Float64":  # written as Python does it: a printf format has 0.000015
        return st.column_config.NumberColumn(name, help=knob)
    return text(name, knob) if values.dtype == object else number(name, "%d", knob)


def _level_columns(level: str, measure: Measure | None) -> Columns:
    """Mean and spread of a result."""
    name, form = {
        "step_mean_s": ("Step (s)", "%.2f"),
        "prompts_per_s": ("Prompts/s", "%.3f"),
        "reward_last_fifth": ("Reward", "%.3f"),
        "accuracy_percent": (f"{_shots(measure) if measure else 'accuracy'} (%)", "%.2f"),
    }[level]
    return {level: number(name, form), f"{level}_std": number("±", form, "standard deviation over runs")}
