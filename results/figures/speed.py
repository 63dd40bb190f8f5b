"""How much faster: ratios in each unit of speed, with their intervals."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from results.figures.colours import BASE_COLOUR, ArmStyle
from results.figures.layout import LINE, finish, write_beside
from results.store import records
from results.tables.speed import NOT_COMPARABLE, ONE_RUN

_ROW_PX, _NARROW_ROW_PX = 44, 28
_FEW = 12
"""So many bars have room."""


@dataclass(frozen=True)
class SpeedUnit:
    """A unit in which two runs are compared; above 1 is always faster."""

    ratio: str
    """Column of the ratio."""
    ends: str
    """Columns of its interval begin with this."""
    title: str


UNITS: Mapping[str, SpeedUnit] = {
    "prompts/s": SpeedUnit(
        "prompts_per_s_speedup",
        "prompts_per_s",
        "prompts trained a second, as a multiple of the other run's",
    ),
    "step time": SpeedUnit(
        "step_time_cycles_speedup", "step_time", "mean step time of the other run over this one's"
    ),
    "tokens/s": SpeedUnit(
        "completion_tokens_per_s_speedup",
        "completion_tokens_per_s",
        "completion tokens trained a second, as a multiple of the other run's",
    ),
    "time to reward": SpeedUnit(
        "time_to_reward_speedup",
        "time_to_reward",
        "the other run's time to its own final reward over this one's",
    ),
}
"""By what they are called, the one to judge by first."""


def in_unit(rows: pd.DataFrame, unit: SpeedUnit) -> pd.DataFrame:
    """Rows with the ratio in one unit as `ratio, low, high`, and `words`; those without a ratio left out.

    Args:
        rows: of `results.tables.speed.speedup_table`, `results.tables.arms.arm_speedups_table`, or both.
        unit: one of `UNITS`.
    """
    # Of arms there is no ratio over whole cycles, and of single runs no interval of times to a reward.
    ratio = rows.get(unit.ratio, pd.Series(index=rows.index, dtype=float)).astype(float)
    if unit.ends == "step_time":
        over_all = rows["step_time_speedup"].where(rows["interval_scope"] != ONE_RUN)
        ratio = ratio.fillna(over_all.astype(float))
    ends = {
        end: rows.get(f"{unit.ends}_{end}", pd.Series(index=rows.index, dtype=float)).astype(float)
        for end in ("low", "high", "least", "most")
    }
    like = rows["step_time_comparable"].astype("boolean").fillna(True) | (unit.ends != "step_time")
    bound = rows.get("time_to_reward_bound") if unit.ends == "time_to_reward" else None
    found = rows.assign(
        ratio=ratio, **ends, comparable=like.astype(bool), bound=None if bound is None else bound
    )
    found = found[found["ratio"].notna()]
    return found.assign(words=[_words(row) for row in records(found)])


def speedup_bars(
    speedups: pd.DataFrame, styles: Mapping[str, ArmStyle], unit: SpeedUnit = UNITS["prompts/s"]
) -> go.Figure:
    """A bar for each ratio, its 95 % interval and the number in words.

    Hatched: it compares unlike steps. Dotted: it is only a bound.

    Args:
        speedups: rows of one opponent with `run_name, label, other_label`, as `in_unit` takes them.
        styles: by run name.
        unit: of the ratio.
    """
    drawn = in_unit(speedups, unit)
    rows = [f"{label} vs {other}" for label, other in zip(drawn["label"], drawn["other_label"], strict=True)]
    figure = go.Figure()
    figure.add_bar(
        x=list(drawn["ratio"]),
        y=rows,
        orientation="h",
        marker={
            "color": [_colour(styles, run) for run in drawn["run_name"]],
            "pattern": {"shape": [_pattern(row) for row in records(drawn)]},
        },
        error_x={
            "type": "data",
            "array": list(drawn["high"] - drawn["ratio"]),
            "arrayminus": list(drawn["ratio"] - drawn["low"]),
            "color": LINE,
        },
        customdata=list(drawn["words"]),
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )
    figure.add_vline(x=1, line={"color": LINE, "dash": "dot"})
    write_beside(figure, rows, list(drawn["words"]))
    figure.update_xaxes(title=unit.title, ticksuffix="×", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    row_px = _ROW_PX if len(rows) <= _FEW else _NARROW_ROW_PX
    return finish(figure, height=row_px * max(len(rows), 2), legend=False, right=150)


def _pattern(row: Mapping[str, Any]) -> str:
    return "." if isinstance(row["bound"], str) else "" if row["comparable"] else "/"


def _words(row: Mapping[str, Any]) -> str:
    """`1.45× [1.40–1.50]`; of two seeds their range, `1.45× (1.40, 1.50)`; `> 1.45×` of a bound."""
    said = f"{row['ratio']:.2f}×"
    if isinstance(row["bound"], str):
        return f"{row['bound']} {said}"
    if not row["comparable"]:
        said += f" {NOT_COMPARABLE}"
    if pd.notna(row["low"]) and pd.notna(row["high"]):
        return f"{said} [{row['low']:.2f}–{row['high']:.2f}]"
    if pd.notna(row["least"]) and row["least"] != row["most"]:
        return f"{said} ({row['least']:.2f}, {row['most']:.2f})"
    return said


def _colour(styles: Mapping[str, ArmStyle], run: str) -> str:
    return styles[run].colour if run in styles else BASE_COLOUR
