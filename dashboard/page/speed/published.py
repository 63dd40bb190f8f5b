"""Speed that others published, with what its rounding allows: never in one table with what was measured."""

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from dashboard.choice import choose_one
from dashboard.data import View
from dashboard.shown import Columns, number, show_figure, show_table, text
from results.figures.colours import arm_styles
from results.figures.speed import UNITS, ranked, ratio_bars
from results.files.comparisons import OPPONENTS
from results.report.cells import published_ratio
from results.store import records
from results.tables.speed import NOT_COMPARABLE


def show_published_speed(view: View) -> None:
    """Draws bars and tables; nothing where nothing was published."""
    table = view.left(view.report.published_speed)
    if table.empty:
        return
    st.subheader("As published elsewhere")
    pairs = view.left(view.report.published_speedups)
    unit = choose_one("Published figures drawn", list(_RATIOS), "published_unit") if len(pairs) else ""
    _bars(view, pairs, "reference", unit)
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
    twins = pairs[pairs["against"] == "baseline"]
    if len(twins):
        _bars(view, pairs, "baseline", unit)
        names = ("training_time_ratio", "step_time_speedup", "prompts_per_s_speedup")
        cells = twins.assign(**{f"{name}_text": _rounded(twins, name) for name in names})
        show_table(
            view,
            "published-speedups-baseline",
            cells,
            _TWIN_COLUMNS,
            f"The same figures against the {OPPONENTS['baseline']}: what asynchrony alone was worth.",
        )


def _bars(view: View, pairs: pd.DataFrame, against: str, unit: str) -> None:
    """Ratios to one kind of opponent in one unit, with the ends that rounding allows."""
    part = pairs[pairs["against"] == against]
    ratio = _RATIOS[unit] if len(part) else ""
    part = part.dropna(subset=[ratio]) if ratio else part
    if part.empty:
        return
    said = [published_ratio(row, ratio) for row in records(part)]
    unlike = ~part["step_time_comparable"] if unit == "step time" else pd.Series(data=False, index=part.index)
    ratios = ranked(
        part.assign(
            ratio=part[ratio],
            low=part[f"{ratio}_low"],
            high=part[f"{ratio}_high"],
            comparable=~unlike,
            bound=None,
            words=[
                f"{value.removesuffix('x')}×{f' {NOT_COMPARABLE}' if mark else ''} [{ends}]"
                for (value, ends), mark in zip(said, unlike, strict=True)
            ],
        )
    )
    drawn = ratios.head(_MOST_BARS)
    name, title = OPPONENTS[against], UNITS[unit].title
    most = f"The best {len(drawn)} of {len(ratios):,} are drawn. " if len(drawn) < len(ratios) else ""
    mark = (
        f" Hatched, {NOT_COMPARABLE}: their steps train different numbers of prompts." if unlike.any() else ""
    )
    show_figure(
        view,
        f"published-speedups-{against}-drawn",
        ratio_bars(drawn, arm_styles(view.report.experiments), title),
        drawn[["label", "other_label", "ratio", "low", "high"]].assign(unit=unit),
        f"{most}Published elsewhere, against the {name}: {title}; right of 1× is faster. "
        f"[ ]: what the rounding of the published figures allows, which is no confidence interval.{mark}",
        title=f"published speed-ups against the {name} by {unit}",
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


_MOST_BARS = 40
_RATIOS: Mapping[str, str] = {"prompts/s": "prompts_per_s_speedup", "step time": "step_time_speedup"}
"""Columns by the unit they are in."""
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
