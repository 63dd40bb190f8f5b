"""Two runs beside each other: what page Runs shows where two rows are chosen."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import View
from dashboard.explain import show_command
from dashboard.page.runs.detail import origin, run_title
from dashboard.shown import Columns, escaped, number, show_table, text
from results.report.build import Report
from results.report.cells import Row, value_text
from results.store import records
from results.tables.runs import differences_table

_NOT_GIVEN = "not given"


def show_pair(view: View, first: Row, second: Row) -> None:
    """Where two runs differ in results, in configuration, and in environment and code.

    Args:
        view: what the page shows.
        first: row of `results.tables.runs.runs_table`: A.
        second: likewise: B.
    """
    runs = str(first["run_name"]), str(second["run_name"])
    st.subheader("Two runs")
    st.markdown(
        "\n".join(
            f"- **{head}**: {escaped(run_title(row))}"
            for head, row in zip("AB", (first, second), strict=True)
        )
    )
    show_command(f"sweepctl diff {view.sweep}/{runs[0]} {view.sweep}/{runs[1]}", view.runs_dir)
    st.markdown("**Results**")
    _results(view, first, second)
    st.markdown("**Configuration**")
    _differences(view, "configuration", *(view.report.configurations.get(run, {}) for run in runs))
    st.markdown("**Environment and code**")
    _differences(view, "environment", *(origin(view, run) for run in runs))


def _results(view: View, first: Row, second: Row) -> None:
    """B against A, with the intervals and verdicts of the same tests as everywhere."""
    pair = (str(first["run_name"]), str(second["run_name"]))
    if "infeasible" in (first["state"], second["state"]):
        st.info("A point that cannot run has no results to compare.")
        return
    rows = [*_speed_rows(first, second), *_tested_rows(view.compared_with(pair[0]), pair)]
    if not rows:
        st.info("Neither run has results yet.")
        return
    show_table(
        view,
        "results-of-two",
        pd.DataFrame(rows, columns=list(_RESULTS)),
        _RESULTS,
        "Interval: 95 %, of B / A for prompts/s (whole sync cycles after the first, within these runs), of "
        "B − A in points for accuracy. Verdict on B against A: adjusted for comparing every run of the sweep "
        "with A.",
    )


def _speed_rows(first: Row, second: Row) -> Iterable[tuple[Any, ...]]:
    for column, name in _FIGURES.items():
        one, other = (float(row.get(column, np.nan)) for row in (first, second))
        if not (np.isnan(one) and np.isnan(other)):
            yield name, one, other, other - one, other / one if one else np.nan, None, None


def _tested_rows(compared: Report, pair: tuple[str, str]) -> Iterable[tuple[Any, ...]]:
    """Prompts/s with its interval, and every measure of accuracy of both runs."""
    speed = compared.speedups
    for row in records(speed[(speed["against"] == "chosen") & (speed["run_name"] == pair[1])]):
        if pd.notna(row["prompts_per_s_low"]):
            interval = f"{row['prompts_per_s_low']:.2f} to {row['prompts_per_s_high']:.2f}"
            yield "prompts/s, whole cycles", None, None, None, row["prompts_per_s_speedup"], interval, None
    deltas = compared.deltas
    for row in records(deltas[(deltas["against"] == "chosen") & (deltas["run_name"] == pair[1])]):
        name = f"{row['task']}, {row['num_fewshot']}-shot, {row['filter']} (%)"
        ends = f"{row['low']:+.1f} to {row['high']:+.1f}" if pd.notna(row["low"]) else None
        yield (
            name,
            row["other_percent"],
            row["value_percent"],
            row["delta_points"],
            None,
            ends,
            row["verdict"],
        )


def _differences(view: View, name: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    table = differences_table(first, second)
    if table.empty:
        st.caption("The same in all that is known of both.")
        return
    for side in ("first", "second"):
        table[side] = [
            value_text(value) if given else _NOT_GIVEN
            for value, given in zip(table[side], table[f"in_{side}"], strict=True)
        ]
    show_table(view, f"{name}-of-two", table, _DIFFERENCES)


_FIGURES = {
    "step_mean_s": "step (s)",
    "published_step_s": "published step (s)",
    "prompts_per_s": "prompts/s",
    "reward_last_fifth": "reward, last fifth",
}
_RESULTS: Columns = {
    "name": text("Result"),
    "first": number("A", "%.3f"),
    "second": number("B", "%.3f"),
    "difference": number("B − A", "%+.3f"),
    "ratio": number("B / A", "%.2f×"),
    "interval": text("95 %"),
    "verdict": text("Verdict on B"),
}
_DIFFERENCES: Columns = {"key": text("What"), "first": text("A"), "second": text("B")}
