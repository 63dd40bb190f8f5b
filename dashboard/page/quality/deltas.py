"""Differences in accuracy against one kind of opponent at a time, of runs or of arms over their seeds."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from dashboard.choice import choose_one
from dashboard.data import View
from dashboard.shown import Columns, adjusted_p, hidden, interval, number, show_figure, show_table, text
from results.figures.colours import arm_styles
from results.figures.quality import delta_forest
from results.files.comparisons import OPPONENTS
from results.tables.arms import arm_label
from results.tables.arms_accuracy import ONE_SEED

MOST_ROWS = 40
"""Of a forest plot: more do not fit a screen."""
_ARMS, _RUNS = "arms", "runs"
_VERDICT_PX = 105
"""Room for the longest."""


def show_deltas(view: View, of_measure: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame | None:
    """Draws forest plot and table; the runs' rows, or None where there is nothing to compare.

    Args:
        view: what the page shows.
        of_measure: the rows of a table that are of the task, metric and filter chosen.
    """
    st.subheader("Differences and verdicts")
    chosen = _choose_opponent(view, of_measure)
    if chosen is None:
        st.info("There is nothing to compare yet: neither the base model nor another run has been evaluated.")
        return None
    against, deltas, arm_deltas = chosen
    runs = view.left(deltas)
    if runs.empty:
        st.info(f"None of the runs shown has been evaluated and is compared with the {OPPONENTS[against]}.")
        return None
    arms = arm_deltas[arm_deltas["arm"].isin(runs["arm_id"].fillna(runs["run_name"]))]
    if (arms["scope"] != ONE_SEED).any() and _choose_rows() == _ARMS:
        _forest(view, against, _named(view, arms), _ARM_COLUMNS)
    else:
        _forest(view, against, runs, _RUN_COLUMNS)
    return runs


def _choose_opponent(
    view: View, of_measure: Callable[[pd.DataFrame], pd.DataFrame]
) -> tuple[str, pd.DataFrame, pd.DataFrame] | None:
    """Kind of opponent, and the rows of runs and of arms against it; None: there is no other result."""
    report = view.report
    deltas, evaluated = of_measure(report.deltas), of_measure(report.accuracy).dropna(subset=["run_name"])
    present = [name for against, name in OPPONENTS.items() if (deltas["against"] == against).any()]
    if evaluated["run_name"].nunique() > 1:
        present.append(OPPONENTS["chosen"])
    if not present:
        return None
    name = choose_one("Against", present, "against")
    against = next(each for each, called in OPPONENTS.items() if called == name)
    arm_deltas = of_measure(report.arm_deltas)
    if against == "chosen":
        deltas, arm_deltas = (of_measure(table) for table in view.deltas_from(_choose_run(evaluated)))
    return against, deltas[deltas["against"] == against], arm_deltas[arm_deltas["against"] == against]


def _choose_run(evaluated: pd.DataFrame) -> str:
    """The label of an evaluated run, or of an arm with several."""
    labels = evaluated["label"].drop_duplicates()
    seeds = labels.map(arm_label).value_counts(sort=False)
    arms = [arm for arm in seeds.index[seeds > 1] if arm not in set(labels)]
    chosen: str = st.selectbox(
        "Run to compare with",
        [*arms, *labels],
        key="against_run",
        bind="query-params",
        width=480,
        help="a name without a seed is an arm: each run is compared with that of its own seed",
    )
    return chosen


def _choose_rows() -> str:
    return choose_one(
        "Rows",
        [_ARMS, _RUNS],
        "rows",
        "arms: over all their seeds, also those that the filter leaves out; "
        "runs: each seed's checkpoint by itself",
    )


def _named(view: View, arms: pd.DataFrame) -> pd.DataFrame:
    """Arms' rows with the name of their first run, which has their colour; several seeds have no number."""
    experiments = view.report.experiments
    keys = experiments["arm_id"].fillna(experiments["run_name"])
    first = dict(zip(keys[::-1], experiments["run_name"][::-1], strict=True))
    return arms.assign(
        run_name=arms["arm"].map(first),
        label=arms["label"].where(arms["seeds"] < 2, arms["label"].map(arm_label)),
        other_label=arms["other_label"].where(arms["other_seeds"] < 2, arms["other_label"].map(arm_label)),
    )


def _forest(view: View, against: str, rows: pd.DataFrame, table_columns: Columns) -> None:
    part = rows.sort_values(["num_fewshot", "position", "run_name"])
    part = part.assign(interval=interval(part["low"], part["high"], "+.2f"))
    drawn, first = _first_rows(part)
    noise = part["noise_points"].max()
    floor = f" Evaluated twice, the base model differs by up to {noise:.2f} points." if noise > 0 else ""
    margin = view.report.margin_points
    of_seeds = " Of several seeds: both questions and seeds are a sample." if "scope" in table_columns else ""
    methods = " and ".join(part["method"].dropna().unique())
    show_figure(
        view,
        f"deltas-{against}",
        delta_forest(drawn, arm_styles(view.report.experiments), margin),
        drawn[list(table_columns)],
        f"Difference from the {OPPONENTS[against]} with its 95 % interval ({methods}, not "
        f"adjusted); right of 0 is better. ▲ better, ▼ worse (Holm-adjusted p < 0.05), = equivalent within "
        f"±{margin:g} points (the grey band), ? and open: inconclusive, smaller differences than the one "
        f"named may go unseen.{of_seeds}{floor}{first}",
        title=f"differences from the {OPPONENTS[against]}, with verdicts",
    )
    show_table(view, f"deltas-{against}-table", part, table_columns)
    if "refusal" in part and part["refusal"].notna().any():
        refused = part.dropna(subset=["refusal"])
        show_table(view, f"not-compared-{against}", refused, _REFUSED_COLUMNS)


def _first_rows(part: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of as many whole runs or arms as fit, and the words that say so where these are not all."""
    each = part.groupby(["position", "run_name"]).size()
    kept = max(1, int((each.cumsum() <= MOST_ROWS).sum()))
    names = each.index.get_level_values("run_name")
    words = f" The first {kept} of {len(each):,} are drawn; the table has all." if kept < len(each) else ""
    return part[part["run_name"].isin(names[:kept])], words


_TESTED: Columns = {
    "num_fewshot": number("Shots", "%d"),
    "verdict": text("Verdict", width=_VERDICT_PX),
    "delta_points": number("Delta (points)", "%+.2f"),
    "interval": text("95 %"),
    "other_label": text("Against"),
}
_DETAILS: Columns = {
    "p_adjusted": adjusted_p(),
    "detectable_points": number("Detectable", "%.1f", "least difference seen with 80 % power, points"),
    "method": text("Method"),
    "low": hidden(),
    "high": hidden(),
}
_RUN_COLUMNS: Columns = {
    "label": text("Run"),
    **_TESTED,
    "value_percent": number("This (%)", "%.2f"),
    "other_percent": number("Other (%)", "%.2f"),
    **_DETAILS,
}
_REFUSED_COLUMNS: Columns = {
    "label": text("Run", width="small"),
    "other_label": text("Against", width="small"),
    "num_fewshot": st.column_config.NumberColumn("Shots", format="%d", width="small"),
    "refusal": text("Why they are not compared: what differs", width="large"),
}
_ARM_COLUMNS: Columns = {"label": text("Arm"), **_TESTED, "scope": text("Speaks of"), **_DETAILS}
