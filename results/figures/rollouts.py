"""A completion token by token, coloured by how far engine and learner disagree."""

import html
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from results.figures.layout import finish

TOKENS_A_ROW = 16
MOST_TOKENS = 512
"""That one figure draws."""
_ROW_PX = 24
_LONGEST = 7
_WHITESPACE = str.maketrans({"\n": "↵", "\r": "↵", "\t": "→", " ": "·"})
_LEAST_RANGE_NATS = 0.1
"""Of the colours: rounding must not look like disagreement."""
_GAP_SCALE, _ON_GAPS = [[0.0, "#7746B8"], [0.5, "#6B6B6B"], [1.0, "#BF5F0B"]], "#FFFFFF"
"""From purple to orange as ColorBrewer's PuOr, which colour-blind readers tell apart, but grey where the two
agree: white would be the loudest colour of a dark page. All are dark enough for light text."""


def token_strip(tokens: pd.DataFrame) -> go.Figure:
    """The first `MOST_TOKENS` tokens in rows, as a text is read, each on the colour of its gap.

    Where no gap is known the colour is the generator's own log-probability. Token texts are a model's: what
    Plotly would read as markup is escaped.

    Args:
        tokens: `results.tables.rollouts.tokens_table`.
    """
    shown = tokens.head(MOST_TOKENS)
    gaps_known = bool(shown["gap"].notna().any())
    values = shown["gap" if gaps_known else "generator_logprob"].to_numpy(np.float64)
    rows = -(-len(shown) // TOKENS_A_ROW)
    hover = [
        f"token {place}: {_cell(text, 40)}<br>generator {_nats(generator)}, learner {_nats(learner)}"
        for place, text, generator, learner in zip(
            shown["place"],
            shown["token"],
            shown["generator_logprob"],
            shown["learner_logprob"],
            strict=True,
        )
    ]
    figure = go.Figure(
        go.Heatmap(
            z=_in_rows(values.tolist(), rows, None),
            text=_in_rows([_cell(text, _LONGEST) for text in shown["token"]], rows, ""),
            customdata=_in_rows(hover, rows, ""),
            x=list(range(1, TOKENS_A_ROW + 1)),
            y=[row * TOKENS_A_ROW for row in range(rows)],
            texttemplate="%{text}",
            textfont={"family": "monospace", "size": 11, **({"color": _ON_GAPS} if gaps_known else {})},
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            xgap=1,
            ygap=1,
            **_colours(values, gaps_known=gaps_known),
        )
    )
    figure.update_xaxes(title="place in the row (tokens)", dtick=1)
    figure.update_yaxes(title="tokens before", autorange="reversed", dtick=TOKENS_A_ROW)
    finish(figure, height=max(_ROW_PX * rows, 120), legend=False)
    return figure.update_xaxes(showgrid=False).update_yaxes(showgrid=False)


def _colours(values: npt.NDArray[np.float64], *, gaps_known: bool) -> dict[str, object]:
    """A scale that is symmetric about 0 for gaps, and one from unlikely to certain for log-probabilities."""
    known = values[~np.isnan(values)]
    bar = {"thickness": 12, "outlinewidth": 0, "title": {"text": "nats"}, "nticks": 4}
    if gaps_known:
        reach = max(_LEAST_RANGE_NATS, float(np.abs(known).max()))
        return {"colorscale": _GAP_SCALE, "zmin": -reach, "zmax": reach, "colorbar": bar}
    low = min(-_LEAST_RANGE_NATS, float(known.min())) if len(known) else -_LEAST_RANGE_NATS
    return {"colorscale": "Cividis", "zmin": low, "zmax": 0.0, "colorbar": bar}


def _in_rows(values: Sequence[object], rows: int, missing: object) -> list[list[object]]:
    padded = [*values, *[missing] * (rows * TOKENS_A_ROW - len(values))]
    return [padded[row * TOKENS_A_ROW : (row + 1) * TOKENS_A_ROW] for row in range(rows)]


def _cell(text: object, longest: int) -> str:
    """A token with its white space made visible, cut to fit, and no markup."""
    visible = text.translate(_WHITESPACE) if isinstance(text, str) else ""
    short = visible if len(visible) <= longest else f"{visible[: longest - 1]}…"
    return html.escape(short, quote=False)


def _nats(value: float) -> str:
    return "not known" if np.isnan(value) else f"{value:.3f}"
