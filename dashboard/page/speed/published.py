"""Speed that others published, with what its rounding allows: never in one table with what was measured."""

import pandas as pd
import streamlit as st

from dashboard.data import View
from dashboard.shown import Columns, number, show_table, text
from results.files.comparisons import OPPONENTS
from results.report.cells import published_ratio
from results.store import records


def show_published_speed(view: View) -> None:
    """Draws the tables; nothing where nothing was published."""
    table = view.left(view.report.published_speed)
    if table.empty:
        return
    st.subheader("As published elsewhere")
    cells = table.assign(
        training_min=table["training_time_s"] / 60,
        **{f"{name}_text": _rounded(table, name) for name in ("step_time_speedup", "prompts_per_s_speedup")},
    )
    mark = "†: the two runs' steps train different numbers of prompts. " if _unlike(table) else ""
    show_table(
        view,
        "published-speed",
        cells,
        _PUBLISHED_COLUMNS,
        f"Not measured here; against the {OPPONENTS['reference']}. [ ]: what the rounding of the published "
        f"figures allows, which is no confidence interval. {mark}",
    )
    twins = view.left(view.report.published_speedups)
    twins = twins[twins["against"] == "baseline"]
    if len(twins):
        names = ("training_time_ratio", "step_time_speedup", "prompts_per_s_speedup")
        cells = twins.assign(**{f"{name}_text": _rounded(twins, name) for name in names})
        show_table(
            view,
            "published-speedups-baseline",
            cells,
            _TWIN_COLUMNS,
            f"The same figures against the {OPPONENTS['baseline']}: what asynchrony alone was worth.",
        )


def _unlike(table: pd.DataFrame) -> bool:
    return not table["step_time_comparable"].astype("boolean").fillna(True).all()


def _rounded(table: pd.DataFrame, name: str) -> list[str]:
    """`1.46x [1.460–1.468]`, and the mark where steps are unlike."""
    cells = []
    for row in records(table):
        if pd.isna(row[name]):
            cells.append("–")
        elif row["other_run"] == row["run_name"]:
            cells.append("1x (reference)")
        else:
            unlike = name != "prompts_per_s_speedup" and not row["step_time_comparable"]
            value, ends = published_ratio(row, name)
            cells.append(f"{value}{' †' if unlike else ''} [{ends}]")
    return cells


_PUBLISHED_COLUMNS: Columns = {
    "label": text("Run"),
    "training_min": number("Time (min)", "%.1f", "training time"),
    "step_mean_s": number("Step (s)", "%g", "mean step time"),
    "step_time_speedup_text": text("Step time"),
    "prompts_per_s": number("Prompts/s", "%.3f"),
    "prompts_per_s_speedup_text": text("Prompts/s speed-up"),
}
_TWIN_COLUMNS: Columns = {
    "label": text("Run"),
    "other_label": text("Against"),
    "training_time_ratio_text": text("Training time"),
    "step_time_speedup_text": text("Step time"),
    "prompts_per_s_speedup_text": text("Prompts/s"),
}
