"""How much faster: ratios in each unit of speed, with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from results.figures.colours import BASE_COLOUR, ArmStyle
from results.figures.layout import INTERVAL, INTERVAL_EDGE, LINE, finish, rows_from_the_top, write_beside
from results.store import records
from results.tables.speed import NOT_COMPARABLE, ONE_RUN

_ROW_PX, _NARROW_ROW_PX = 44, 28
_FEW = 12
"""So many bars have room."""
_RIGHT_PX, _BOUND_PX = 150, 200
_EDGE_WIDTH, _WIDTH = 5, 1.8
_NOT_REACHED: Mapping[str, str] = {"<": "not reached", ">": "other: not reached"}
"""What a bound on a ratio of times to a reward means, by its sign."""


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

    `bound` is '<' or '>' where the ratio is only the figure it is below or above, else None.

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


def ranked(ratios: pd.DataFrame) -> pd.DataFrame:
    """Rows of `in_unit`, the highest ratio first; bounds come last, for they have no place among ratios."""
    by_ratio = ratios.sort_values("ratio", ascending=False, kind="stable")
    return by_ratio.sort_values("bound", key=lambda bound: bound.notna(), kind="stable")


def speedup_bars(
    speedups: pd.DataFrame, styles: Mapping[str, ArmStyle], unit: SpeedUnit = UNITS["prompts/s"]
) -> go.Figure:
    """`ratio_bars` of speed-ups in one unit.

    Args:
        speedups: rows of one opponent with `run_name, label, other_label`, as `in_unit` takes them.
        styles: by run name.
        unit: of the ratio.
    """
    return ratio_bars(in_unit(speedups, unit), styles, unit.title)


def ratio_bars(ratios: pd.DataFrame, styles: Mapping[str, ArmStyle], title: str) -> go.Figure:
    """A bar for each ratio with its interval, and the number in words; of a bound the words only.

    Hatched: it compares unlike steps.

    Args:
        ratios: `run_name, label, other_label, ratio, low, high, comparable, bound, words`, as of `in_unit`.
        styles: by run name.
        title: of the ratios' axis.
    """
    rows = [
        f"{label} vs {other}" for label, other in zip(ratios["label"], ratios["other_label"], strict=True)
    ]
    lengths = list(ratios["ratio"].where(ratios["bound"].isna()))
    figure = go.Figure()
    figure.add_bar(
        x=lengths,
        y=rows,
        orientation="h",
        marker={
            "color": [_colour(styles, run) for run in ratios["run_name"]],
            # In place of the fill: over it plotly.js looks for a contrast to a list of colours, and warns.
            "pattern": {
                "shape": ["" if like else "/" for like in ratios["comparable"]],
                "fillmode": "replace",
                "size": 6,
                "solidity": 0.5,
            },
        },
        customdata=list(ratios["words"]),
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )
    _add_intervals(figure, ratios, rows)
    figure.add_vline(x=1, line={"color": LINE, "dash": "dot"})
    write_beside(figure, rows, list(ratios["words"]))
    figure.update_xaxes(title=title, ticksuffix="×", rangemode="tozero")
    rows_from_the_top(figure, rows)
    row_px = _ROW_PX if len(rows) <= _FEW else _NARROW_ROW_PX
    right = _BOUND_PX if ratios["bound"].notna().any() else _RIGHT_PX
    return finish(figure, height=row_px * max(len(rows), 2), legend=False, right=right)


def _add_intervals(figure: go.Figure, ratios: pd.DataFrame, rows: Sequence[str]) -> None:
    """Those there are, dark on a light edge."""
    known = (ratios["low"].notna() & ratios["high"].notna() & ratios["bound"].isna()).to_numpy(bool)
    drawn = ratios[known]
    for colour, width in ((INTERVAL_EDGE, _EDGE_WIDTH), (INTERVAL, _WIDTH)) if len(drawn) else ():
        figure.add_scatter(
            x=list(drawn["ratio"]),
            y=[row for row, there in zip(rows, known, strict=True) if there],
            error_x={
                "type": "data",
                "array": list(drawn["high"] - drawn["ratio"]),
                "arrayminus": list(drawn["ratio"] - drawn["low"]),
                "color": colour,
                "thickness": width,
                "width": 3 + width / 2,
            },
            mode="markers",
            marker={"opacity": 0},
            hoverinfo="skip",
        )


def _words(row: Mapping[str, Any]) -> str:
    """`1.45× [1.40–1.50]`; of two seeds their range, `1.45× (1.40, 1.50)`; `not reached (< 1.45×)`."""
    said = f"{row['ratio']:.2f}×"
    if isinstance(row["bound"], str):
        return f"{_NOT_REACHED[row['bound']]} ({row['bound']} {said})"
    if not row["comparable"]:
        said += f" {NOT_COMPARABLE}"
    if pd.notna(row["low"]) and pd.notna(row["high"]):
        return f"{said} [{row['low']:.2f}–{row['high']:.2f}]"
    if pd.notna(row["least"]) and row["least"] != row["most"]:
        return f"{said} ({row['least']:.2f}, {row['most']:.2f})"
    return said


def _colour(styles: Mapping[str, ArmStyle], run: str) -> str:
    return styles[run].colour if run in styles else BASE_COLOUR
