"""Quality: accuracy, whether differences are real, absent or too small to see, and learning curves."""

import pandas as pd
import streamlit as st

from dashboard.data import View
from dashboard.shown import Columns, number, show_figure, show_table, text
from results.figures.colours import arm_styles
from results.figures.quality import delta_forest, exact_match, learning_curves
from results.files.comparisons import OPPONENTS
from results.tables.accuracy import default_filter_rows
from results.tables.speed import REWARD_WINDOW_STEPS
from results.tables.steps import learning_curves_table

_MEASURE = ["task", "metric", "filter"]
# Options are shown as they are in the address, where they are kept.
_X_AXES = {"step": "step", "prompts": "prompts trained on", "minutes": "training time (min)"}


def show(view: View) -> None:
    """Draws the page."""
    st.title("Quality")
    report = view.report
    if report.accuracy.empty:
        st.info("Nothing has been evaluated yet: runs are evaluated when they have finished.")
    else:
        measure = _choose_measure(report.accuracy)
        _accuracy(view, _of(report.accuracy, measure))
        _deltas(view, _of(report.deltas, measure))
    _curves(view)


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
    task, metric, filter_name = accuracy[_MEASURE].iloc[0]
    st.subheader(f"{metric.replace('_', ' ').capitalize()} by shots")
    show_figure(
        view,
        "accuracy",
        exact_match(accuracy, arm_styles(view.report.experiments)),
        accuracy[
            ["label", "checkpoint", *_MEASURE, "num_fewshot", "value_percent", "stderr_percent", "questions"]
        ],
        f"{task}, filter {filter_name}, greedy answers of each run's last evaluated checkpoint; "
        f"bars: one standard error to either side. Grey star: a base model.",
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


def _deltas(view: View, deltas: pd.DataFrame) -> None:
    """Forest plot and table against one kind of opponent at a time."""
    st.subheader("Differences and verdicts")
    present = {name: against for against, name in OPPONENTS.items() if (deltas["against"] == against).any()}
    if not present:
        st.info("There is nothing to compare yet: neither the base model nor another run has been evaluated.")
        return
    opponent = str(
        st.segmented_control(
            "Against",
            list(present),
            default=next(iter(present)),
            required=True,
            key="against",
            bind="query-params",
        )
    )
    against = present[opponent]
    part = deltas[deltas["against"] == against].sort_values(["num_fewshot", "position", "run_name"])
    margin = view.report.margin_points
    methods = " and ".join(part["method"].dropna().unique())
    show_figure(
        view,
        f"deltas-{against}",
        delta_forest(part, arm_styles(view.report.experiments), margin),
        part[list(_DELTA_COLUMNS)],
        f"Difference from the {opponent} with its 95 % interval ({methods}, not "
        f"adjusted); right of 0 is better. ▲ better, ▼ worse (Holm-adjusted p < 0.05), = equivalent within "
        f"±{margin:g} points (the grey band), ? and open: inconclusive, smaller differences than the one "
        f"named may go unseen.",
    )
    refused = part["refusal"].notna().any()
    columns = {name: column for name, column in _DELTA_COLUMNS.items() if refused or name != "refusal"}
    show_table(view, f"deltas-{against}-table", part, columns)


def _curves(view: View) -> None:
    st.subheader("Learning curves")
    steps = view.steps
    if steps.empty:
        st.info("No run has finished a step yet.")
        return
    x = str(
        st.segmented_control(
            "Reward against",
            list(_X_AXES),
            default="step",
            required=True,
            key="x",
            bind="query-params",
        )
    )
    curves = learning_curves_table(steps)
    show_figure(
        view,
        "learning-curves",
        learning_curves(curves, arm_styles(view.report.experiments), x, _X_AXES[x]),
        curves[["label", "run_name", "step", "prompts", "minutes", "reward_mean", "reward_smoothed"]],
        f"Mean reward in training. Dots: single steps. Lines: trailing mean of {REWARD_WINDOW_STEPS} steps. "
        f"Groups that were filtered for equal rewards count too.",
    )


_DELTA_COLUMNS: Columns = {
    "label": text("Run"),
    "other_label": text("Against"),
    "num_fewshot": number("Shots", "%d"),
    "value_percent": number("This (%)", "%.2f"),
    "other_percent": number("Other (%)", "%.2f"),
    "delta_points": number("Delta (points)", "%+.2f"),
    "low": number("95 % from", "%+.2f"),
    "high": number("to", "%+.2f"),
    "verdict": text("Verdict"),
    "p_adjusted": number("p adjusted", "%.2g"),
    "detectable_points": number("Detectable", "%.1f", "least difference seen with 80 % power, points"),
    "method": text("Method"),
    "refusal": text("Why not compared"),
}
