"""How much faster: ratios of prompts a second with their intervals."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from results.figures.colours import BASE_COLOUR, ArmStyle
from results.figures.layout import LINE, finish, write_beside

_ROW_PX = 44


def speedup_bars(speedups: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> go.Figure:
    """A bar for each ratio of prompts a second, its 95 % interval and the number in words.

    Args:
        speedups: rows of one opponent: `run_name, label, other_label, prompts_per_s_speedup`, and
            `prompts_per_s_low`, `_high`, which may be NaN.
        styles: by run name.
    """
    rows = [
        f"{label} vs {other}" for label, other in zip(speedups["label"], speedups["other_label"], strict=True)
    ]
    ratio, low, high = (
        speedups[name].astype(float)
        for name in ("prompts_per_s_speedup", "prompts_per_s_low", "prompts_per_s_high")
    )
    texts = [_words(*numbers) for numbers in zip(ratio, low, high, strict=True)]
    figure = go.Figure()
    figure.add_bar(
        x=list(ratio),
        y=rows,
        orientation="h",
        marker={"color": [_colour(styles, run) for run in speedups["run_name"]]},
        error_x={"type": "data", "array": list(high - ratio), "arrayminus": list(ratio - low), "color": LINE},
        customdata=texts,
        hovertemplate="%{y}: %{customdata}<extra></extra>",
    )
    figure.add_vline(x=1, line={"color": LINE, "dash": "dot"})
    write_beside(figure, rows, texts)
    figure.update_xaxes(
        title="prompts trained a second, as a multiple of the other run's", ticksuffix="×", rangemode="tozero"
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return finish(figure, height=_ROW_PX * max(len(rows), 2), legend=False, right=140)


def _words(ratio: float, low: float, high: float) -> str:
    return f"{ratio:.2f}×" if pd.isna(low) else f"{ratio:.2f}× [{low:.2f}–{high:.2f}]"


def _colour(styles: Mapping[str, ArmStyle], run: str) -> str:
    return styles[run].colour if run in styles else BASE_COLOUR
