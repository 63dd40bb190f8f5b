"""Quality: accuracy, whether differences are real, absent or too small to see, and learning curves."""

from collections.abc import Iterator

import pandas as pd
import streamlit as st

from dashboard.data import View
from dashboard.page.quality.curves import show_curves
from dashboard.page.quality.deltas import show_deltas
from dashboard.page.quality.flips import show_flips
from dashboard.shown import MOST_RUNS, Columns, number, show_figure, show_sentences, show_table, text
from results.figures.colours import arm_styles
from results.figures.quality import exact_match
from results.report.quality import quality_observations
from results.tables.accuracy import default_filter_rows

_MEASURE = ["task", "metric", "filter"]


def show(view: View) -> None:
    """Draws the page."""
    st.title("Quality")
    report = view.report
    if report.accuracy.empty:
        st.info(
            "Nothing has been evaluated yet: runs are evaluated when they have finished. "
            "`sweepctl run` with the sweep's spec evaluates those that were not."
        )
    else:
        show_sentences(_sentences(view))
        measure = _choose_measure(report.accuracy)
        _accuracy(view, _of(view.left(report.accuracy), measure))
        compared = show_deltas(view, lambda table: _of(table, measure))
        if compared is not None:
            show_flips(view, compared)
    show_curves(view)


def _sentences(view: View) -> Iterator[str]:
    """What the report says of the runs shown; verdicts stay as they were adjusted over the whole sweep."""
    report, deltas = view.report, view.left(view.report.deltas)
    if deltas.empty:
        return iter(())
    arms = report.arm_deltas["arm"].isin(deltas["arm_id"].fillna(deltas["run_name"]))
    return quality_observations(view.experiments, deltas, report.arm_deltas[arms], report.margin_points)


def _choose_measure(accuracy: pd.DataFrame) -> tuple[str, str, str]:
    """Task, metric and filter; first the one that the report's own verdicts are about."""
    first = default_filter_rows(accuracy)
    ordered = pd.concat([first, accuracy])[_MEASURE].drop_duplicates().itertuples(index=False, name=None)
    names = {" · ".join(measure): measure for measure in ordered}
    if len(names) == 1:
        return next(iter(names.values()))
    return names[st.selectbox("Measure", list(names), key="measure", bind="query-params", width=480)]


def _of(table: pd.DataFrame, measure: tuple[str, str, str]) -> pd.DataFrame:
    return table[(table[_MEASURE] == list(measure)).all(axis=1)]


def _accuracy(view: View, accuracy: pd.DataFrame) -> None:
    """Figure and the reference's table: models by shots."""
    if accuracy.empty:
        st.info("None of the runs shown has been evaluated by this measure.")
        return
    task, metric, filter_name = accuracy[_MEASURE].iloc[0]
    st.subheader(f"{metric.replace('_', ' ').capitalize()} by shots")
    runs = accuracy["run_name"].dropna().unique()
    drawn = accuracy[accuracy["run_name"].isna() | accuracy["run_name"].isin(runs[:MOST_RUNS])]
    first = f" The first {MOST_RUNS} of {len(runs):,} evaluated runs." if len(runs) > MOST_RUNS else ""
    show_figure(
        view,
        "accuracy",
        exact_match(drawn, arm_styles(view.report.experiments)),
        drawn[
            ["label", "checkpoint", *_MEASURE, "num_fewshot", "value_percent", "stderr_percent", "questions"]
        ],
        f"{task}, filter {filter_name}, answers of each run's last evaluated checkpoint; "
        f"bars: one standard error to either side. Grey star: a base model.{first}",
        title=f"{metric.replace('_', ' ')} by shots, {task}",
    )
    by_shots = accuracy.pivot_table(
        index=["position", "label", "checkpoint"], columns="num_fewshot", values="value_percent"
    )
    by_shots.columns = [f"{shots}-shot" for shots in by_shots.columns]
    columns: Columns = {
        "label": text("Model"),
        "checkpoint": text("Checkpoint"),
        **{name: number(f"{name} (%)", "%.2f") for name in by_shots.columns},
    }
    show_table(view, "accuracy-table", by_shots.reset_index(), columns)
