"""What engine, learner, sync and verifier did when: runs one below the other on one time scale.

Filled is work, hatched is waiting: hatched stretches are the bubbles that a better schedule would fill.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd
import plotly.graph_objects as go

from results.figures.colours import PART_COLOURS
from results.figures.layout import LINE, finish
from results.tables.timeline import IDLE, WAITED, Timeline

LANES = ("engine", "learner", "sync", "verify")
"""From the top."""
GENERATE_COLOUR, VERIFY_COLOUR, HELD_OUT_COLOUR, END_COLOUR = "#BBCC33", "#99DDFF", "#AAAA00", "#DDDDDD"
"""What is no part of a step; of Paul Tol's light set, as the parts are."""
NAMES: Mapping[str, str] = {
    "generate": GENERATE_COLOUR,
    "idle:admission": LINE,
    "idle:drain": PART_COLOURS["drain"],
    "idle:sync": PART_COLOURS["sync"],
    "idle:end": END_COLOUR,
    "wait": PART_COLOURS["wait"],
    "learn": PART_COLOURS["learn"],
    "drain": PART_COLOURS["drain"],
    "sync": PART_COLOURS["sync"],
    "checkpoint": PART_COLOURS["checkpoint"],
    "held_out": HELD_OUT_COLOUR,
    "verify": VERIFY_COLOUR,
}
"""Colours by name of span, in the legend's order. Drain and sync mean the same on both sides."""
_LANE_PX, _FLIGHT_PX, _TITLE_PX, _GAP_PX = 30, 84, 34, 10
_NUMBER_PX = 18
_BAR_WIDTH = 0.72
_MOST_NUMBERS, _LAST_NUMBER = 30, 0.96
_LEGEND_LINE_PX = 26


@dataclass(frozen=True)
class Panel:
    """One run of the figure."""

    title: str
    timeline: Timeline


def timelines(panels: Sequence[Panel]) -> go.Figure:
    """For each run a plot of the groups being generated and, below it, the four lanes.

    All share the time axis, whose 0 is where each run's first step of the range begins.

    Args:
        panels: at least one, each with at least one step.
    """
    figure = go.Figure()
    flight_px, lanes_px = _FLIGHT_PX, _LANE_PX * len(LANES) + _NUMBER_PX
    panel_px = _TITLE_PX + flight_px + _GAP_PX + lanes_px
    height = panel_px * len(panels)
    named: set[str] = set()
    longest_s = max(panel.timeline.seconds for panel in panels)
    for place, panel in enumerate(panels):
        flight, lanes = 2 * place + 1, 2 * place + 2
        top = 1 - (place * panel_px + _TITLE_PX) / height
        middle = top - flight_px / height
        bottom = top - (flight_px + _GAP_PX + lanes_px) / height
        _add_axes(figure, flight, (middle, top), lanes, (max(0.0, bottom), middle - _GAP_PX / height))
        _add_step_lines(figure, panel.timeline, flight, lanes)
        _add_step_numbers(figure, panel.timeline, lanes, longest_s)
        _add_in_flight(figure, panel.timeline, flight, in_legend=place == 0)
        _add_spans(figure, panel.timeline.spans, lanes, named)
        figure.add_annotation(
            xref="paper", yref="paper", x=0, xanchor="left", y=top, yanchor="bottom",
            text=panel.title, showarrow=False, font={"size": 14},
        )  # fmt: skip
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(
        title="time since the first of these steps began (s)",
        range=[0, longest_s],
        anchor=f"y{2 * len(panels)}",
    )
    finish(figure, height=height)
    figure.update_xaxes(showgrid=False)  # upright lines are where steps begin
    # The legend takes two lines.
    figure.update_layout(
        margin_t=figure.layout.margin.t + _LEGEND_LINE_PX, height=figure.layout.height + _LEGEND_LINE_PX
    )
    return figure


def _add_axes(
    figure: go.Figure,
    flight: int,
    flight_domain: tuple[float, float],
    lanes: int,
    lanes_domain: tuple[float, float],
) -> None:
    rows = range(len(LANES))
    figure.update_layout(
        {
            _axis("yaxis", flight): {
                "domain": flight_domain,
                "title": "groups",
                "rangemode": "tozero",
                "nticks": 4,
            },
            _axis("yaxis", lanes): {
                "domain": lanes_domain,
                "range": [-0.6, len(LANES) - 0.4 + _NUMBER_PX / _LANE_PX],
                "tickvals": list(rows),
                "ticktext": list(reversed(LANES)),
                "showgrid": False,
                "fixedrange": True,
            },
        }
    )


def _axis(name: str, number: int) -> str:
    return name if number == 1 else f"{name}{number}"


def _add_step_lines(figure: go.Figure, timeline: Timeline, flight: int, lanes: int) -> None:
    """A thin line where each step begins."""
    steps = timeline.steps
    most = max(1, int(timeline.in_flight["groups"].max())) if len(timeline.in_flight) else 1
    for axis, low, high in ((flight, 0.0, float(most)), (lanes, -0.6, len(LANES) - 0.4)):
        figure.add_scatter(
            x=[x for start in steps["start_s"] for x in (start, start, None)],
            y=[y for _ in range(len(steps)) for y in (low, high, None)],
            yaxis=_axis("y", axis),
            mode="lines",
            line={"color": LINE, "width": 1, "dash": "dot"},
            showlegend=False,
            hoverinfo="skip",
        )


def _add_step_numbers(figure: go.Figure, timeline: Timeline, lanes: int, longest_s: float) -> None:
    """Above the lanes where a step begins; only so many that they stay apart, and none that would be cut."""
    steps = timeline.steps
    room = max(1, int(_MOST_NUMBERS * timeline.seconds / longest_s))
    numbered = steps.iloc[:: -(-len(steps) // room)]
    numbered = numbered[numbered["start_s"] <= _LAST_NUMBER * longest_s]
    figure.add_scatter(
        x=list(numbered["start_s"]),
        y=[len(LANES) - 0.4 + _NUMBER_PX / _LANE_PX / 2] * len(numbered),
        yaxis=_axis("y", lanes),
        mode="text",
        text=[str(step) for step in numbered["step"]],
        textposition="middle right",
        textfont={"size": 12},
        showlegend=False,
        hoverinfo="skip",
    )


def _add_in_flight(figure: go.Figure, timeline: Timeline, flight: int, *, in_legend: bool) -> None:
    figure.add_scatter(
        x=list(timeline.in_flight["start_s"]),
        y=list(timeline.in_flight["groups"]),
        yaxis=_axis("y", flight),
        mode="lines",
        line={"color": GENERATE_COLOUR, "width": 1, "shape": "hv"},
        fill="tozeroy",
        name="groups being generated",
        legendgroup="groups",
        showlegend=in_legend,
        hovertemplate="%{x:.4g} s: %{y} groups<extra></extra>",
    )


def _add_spans(figure: go.Figure, spans: pd.DataFrame, lanes: int, named: set[str]) -> None:
    """Bars for one run; `named` are the names that the legend has already."""
    for name in [*NAMES, *sorted(set(spans["name"]) - set(NAMES))]:
        part = spans[(spans["name"] == name) & spans["lane"].isin(LANES)]
        if part.empty:
            continue
        figure.add_bar(
            base=list(part["start_s"]),
            x=list(part["end_s"] - part["start_s"]),
            y=[len(LANES) - 1 - LANES.index(lane) for lane in part["lane"]],
            yaxis=_axis("y", lanes),
            orientation="h",
            width=_BAR_WIDTH,
            name=escape(name).replace(":", ": ").replace("_", " "),
            legendgroup=name,
            showlegend=name not in named,
            marker=_marker(name),
            customdata=_words(part),
            hovertemplate="%{customdata}<extra>%{fullData.name}</extra>",
        )
        named.add(name)


def _marker(name: str) -> dict[str, object]:
    """Filled, or hatched where nothing is done; the outline keeps the shortest visible."""
    colour = NAMES.get(name, LINE)
    marker: dict[str, object] = {"color": colour, "line": {"color": colour, "width": 1}}
    if name.startswith(IDLE) or name in WAITED:
        marker["pattern"] = {"shape": "/", "fillmode": "replace", "size": 6, "solidity": 0.35}
    return marker


def _words(spans: pd.DataFrame) -> list[str]:
    """What the mouse shows of each: `step 4, 1.2–2.3 s: 1.1 s`."""
    words = []
    for step, group, fate, start, end in zip(
        spans["step"], spans["group_id"], spans["fate"], spans["start_s"], spans["end_s"], strict=True
    ):
        what = f"group {group}, {fate}, " if pd.notna(group) else f"step {step}, " if pd.notna(step) else ""
        words.append(f"{what}{start:.4g}–{end:.4g} s: {end - start:.3g} s")
    return words
