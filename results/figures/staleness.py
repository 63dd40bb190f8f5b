"""How old what was trained on was, what became of the rest, and what goes with age."""

from collections.abc import Mapping
from html import escape

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from results.figures.colours import ArmStyle
from results.figures.layout import (
    LINE,
    finish,
    interval_marks,
    legend_entries,
    rows_from_the_top,
    write_beside,
)
from results.store import records

AGE_COLOURS = ("#DADAEB", "#BCBDDC", "#9E9AC8", "#807DBA", "#6A51A3", "#54278F")
"""Purples of ColorBrewer: the older, the darker."""
FATE_COLOURS: Mapping[str, str] = {
    "trained": "#4477AA",
    "filtered": "#CCBB44",
    "evicted": "#EE6677",
    "aborted": "#AA3377",
    "failed": "#228833",
    "leftover": "#66CCEE",
    "discarded": "#BBBBBB",
    "unresolved": "#DDDDDD",
}
"""Tol's bright set. In the order they are drawn: a sweep that is still running has unresolved groups."""
METRIC_TITLES: Mapping[str, str] = {
    "ess": "effective sample size (share of tokens)",
    "ratio_mean": "mean importance ratio",
    "ratio_max": "greatest importance ratio",
    "ratio_min": "least importance ratio",
    "logprob_gap_mean": "mean |learner − engine| (nats a token)",
    "clip_fraction": "share of tokens clipped",
}
"""Columns of table `steps` on what the age of a batch may do, and what they are."""
_ROW_PX = 34
_EDGE = {"width": 0.5, "color": "rgba(128, 128, 128, 0.6)"}


def ages(staleness: pd.DataFrame) -> go.Figure:
    """A bar for each run, its trained groups by age; many ages are put together in steps of equal width.

    Args:
        staleness: view `staleness`: `run_name, label, off_policy_steps, share`.
    """
    most = int(staleness["off_policy_steps"].max())
    width = most // len(AGE_COLOURS) + 1
    bins = staleness.assign(bin=staleness["off_policy_steps"] // width)
    drawn = sorted(bins["bin"].unique())
    figure = go.Figure()
    for number in drawn:
        part = bins[bins["bin"] == number].groupby("label", sort=False)["share"].sum()
        figure.add_bar(
            x=list(100 * part),
            y=list(part.index),
            orientation="h",
            name=_age_name(int(number) * width, width),
            marker={"color": _age_colour(int(number), most // width), "line": _EDGE},
            hovertemplate="%{y}: %{x:.3g} %<extra>%{fullData.name}</extra>",
        )
    return _stacked(figure, list(staleness["label"].unique()), "share of trained groups")


def _age_name(first: int, width: int) -> str:
    if width > 1:
        return f"{first}–{first + width - 1} steps old"
    return f"{first} step{'' if first == 1 else 's'} old"


def _age_colour(number: int, last: int) -> str:
    """The palest for 0 and the darkest for `last`, the others evenly between."""
    return AGE_COLOURS[round(number * (len(AGE_COLOURS) - 1) / last) if last else 0]


def fate_shares(fates: pd.DataFrame) -> go.Figure:
    """A bar for each run, all groups it dispatched by their fate.

    Args:
        fates: view `fates`: `label, fate, groups, share`.
    """
    figure = _by_fate(fates, 100 * fates["share"], "%{y}: %{x:.3g} %, %{customdata:,} groups", "groups")
    return _stacked(figure, list(fates["label"].unique()), "share of groups dispatched")


def generated_tokens(fates: pd.DataFrame, waste: pd.DataFrame) -> go.Figure:
    """A bar for each run, its completion tokens by the fate of their group, and the wasted share in words.

    Args:
        fates: view `fates`.
        waste: `results.tables.staleness.waste_table` of the same runs.
    """
    known = fates[fates["completion_tokens"] > 0]
    tokens = known["completion_tokens"]
    figure = _by_fate(known, tokens, "%{y}: %{x:,} tokens, %{customdata:.3g}", "token_share")
    labels = list(waste["label"])
    write_beside(figure, labels, [_waste_words(row) for row in records(waste)])
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title="completion tokens generated", rangemode="tozero")
    rows_from_the_top(figure, labels)
    return finish(figure, height=_ROW_PX * max(len(labels), 3), right=190)


def _waste_words(row: Mapping[str, float]) -> str:
    share = row["wasted_share"]
    return "nothing generated" if np.isnan(share) else f"{100 * share:.1f} % never trained on"


def _by_fate(fates: pd.DataFrame, x: "pd.Series[float]", hover: str, beside: str) -> go.Figure:
    figure = go.Figure()
    for fate, colour in FATE_COLOURS.items():
        part = fates[fates["fate"] == fate]
        if part.empty:
            continue
        figure.add_bar(
            x=list(x[part.index]),
            y=list(part["label"]),
            orientation="h",
            name=fate,
            marker={"color": colour, "line": _EDGE},
            customdata=list(part[beside]),
            hovertemplate=hover + "<extra>%{fullData.name}</extra>",
        )
    return figure


def _stacked(figure: go.Figure, labels: list[str], x_title: str) -> go.Figure:
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title=x_title, ticksuffix=" %", range=[0, 100])
    rows_from_the_top(figure, labels)
    return finish(figure, height=_ROW_PX * max(len(labels), 3))


def metric_by_step(steps: pd.DataFrame, styles: Mapping[str, ArmStyle], metric: str) -> go.Figure:
    """A line for each run, the metric of each step.

    Args:
        steps: `run_name, label, step` and the metric.
        styles: by run name.
        metric: a key of `METRIC_TITLES`.
    """
    figure = go.Figure()
    entries = legend_entries(steps["label"].unique())
    for run, part in steps.groupby("run_name", sort=False):
        style, label = styles[str(run)], str(part["label"].iloc[0])
        figure.add_scatter(
            x=list(part["step"]),
            y=list(part[metric]),
            mode="lines",
            **entries[label],
            line={"color": style.colour, "width": 1.5, "dash": style.dash},
            hovertemplate=f"step %{{x}}: %{{y:.4g}}<extra>{escape(label)}</extra>",
        )
    figure.update_xaxes(title="step")
    figure.update_yaxes(title=METRIC_TITLES[metric])
    return finish(figure, height=300)


def metric_by_age(effects: pd.DataFrame, styles: Mapping[str, ArmStyle], metric: str) -> go.Figure:
    """A marker for each run and age, the mean of the metric over steps of that age; runs side by side.

    Args:
        effects: `results.tables.ages.age_effects_table`.
        styles: by run name.
        metric: a column of it that is a key of `METRIC_TITLES`.
    """
    names = list(effects["run_name"].unique())
    entries = legend_entries(effects["label"].unique())
    figure = go.Figure()
    for place, (run, part) in enumerate(effects.groupby("run_name", sort=False)):
        style, label = styles[str(run)], str(part["label"].iloc[0])
        aside = 0.4 * ((place + 0.5) / len(names) - 0.5)  # runs of one age would hide each other
        figure.add_scatter(
            x=list(part["off_policy_steps"] + aside),
            y=list(part[metric]),
            mode="lines+markers",
            **entries[label],
            line={"color": style.colour, "width": 1, "dash": style.dash},
            marker={"color": style.colour, "symbol": style.symbol, "size": 9},
            customdata=part[["off_policy_steps", "steps"]].to_numpy(),
            hovertemplate="age %{customdata[0]}, %{customdata[1]} steps: %{y:.4g}"
            f"<extra>{escape(label)}</extra>",
        )
    most = int(effects["off_policy_steps"].max())
    figure.update_xaxes(
        title="age of what a step trains on (steps, mean rounded)",
        range=[-0.5, most + 0.5],
        tickformat="d",
        dtick=max(1, most // 10),
    )
    figure.update_yaxes(title=METRIC_TITLES[metric])
    return finish(figure, height=300)


def thrown_away(bias: pd.DataFrame, x_title: str) -> go.Figure:
    """Groups of other fates against trained ones with 95 % intervals, each with its verdict beside it.

    Args:
        bias: rows of one quantity of `results.tables.selection.bias_table` that have an estimate, with
            `verdict`, what `bias_verdict` says of them.
        x_title: of the estimates, with their unit.
    """
    rows = [f"{label}, {fate}" for label, fate in zip(bias["label"], bias["fate"], strict=True)]
    colours = [FATE_COLOURS[fate] for fate in bias["fate"]]
    figure = go.Figure()
    figure.add_vline(x=1 if (bias["scale"] == "ratio").all() else 0, line={"color": LINE, "dash": "dot"})
    figure.add_trace(
        interval_marks(
            rows,
            bias.rename(columns={"estimate": "value"})[["value", "low", "high"]],
            colours,
            decided=[word in ("more", "less") for word in bias["verdict"]],
            hover="%{y}: %{x:.3g}",
        )
    )
    write_beside(figure, rows, list(bias["verdict"]))
    figure.update_xaxes(title=x_title)
    rows_from_the_top(figure, rows)
    return finish(figure, height=_ROW_PX * max(len(rows), 3), legend=False, right=150)
