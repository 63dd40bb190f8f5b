"""Step times: how they are distributed, why, how they went, what they are made of, and what overlaps."""

from html import escape

import pandas as pd
import streamlit as st

from dashboard.data import View
from dashboard.shown import download, first_runs, number, show_figure, show_sentences, show_table, text
from results.figures.colours import PART_COLOURS, arm_styles
from results.figures.steps import (
    bin_width,
    overlap_bars,
    shown_steps,
    step_parts,
    step_time_bins,
    step_time_histograms,
    step_times,
)
from results.statistics.wording import seconds_text
from results.store import records
from results.tables.steps import overlap_table

_MOST_RUNS = 8
"""A plot each in two figures: more take a browser long to draw."""
_MOST_BARS = 48
"""Positions in the sync cycle, over all runs, whose parts one figure draws."""


def show(view: View) -> None:
    """Draws the page."""
    st.title("Step times")
    runs = first_runs(view, _MOST_RUNS)
    steps = view.steps(runs)
    if steps.empty:
        st.info(why_no_steps(view))
    else:
        _distribution(view, runs, steps)
        _parts(view, runs)
        _overlap(view, runs)
        _course(view, steps)
    _published(view)


def why_no_steps(view: View) -> str:
    """What to say where no run that is shown has a step on record."""
    if (view.experiments["state"] == "succeeded").any():
        return (
            "No step of these runs is on record: they were made elsewhere, and `sweepctl import` takes in "
            "what was published of them. Runs of `sweepctl run` have every step."
        )
    return "No run has finished a step yet. `sweepctl status` says what the runs are doing."


def _distribution(view: View, runs: tuple[str, ...], steps: pd.DataFrame) -> None:
    """Histograms, and what the tests make of them."""
    st.subheader("Distribution")
    modes = view.report.modes[view.report.modes["run_name"].isin(steps["run_name"])]
    locations = dict(zip(modes["run_name"], modes["mode_seconds"], strict=True))
    bins = step_time_bins(steps)
    curves = view.mode_curves(runs, bin_width(steps["wall_s"]))
    several = ", ".join(modes.loc[modes["modes"] > 1, "label"])
    show_figure(
        view,
        "step-time-histograms",
        step_time_histograms(bins, _titles(view.experiments, locations), locations, curves),
        bins,
        f"Number of steps by their time, all runs on one axis; the colour says where in the sync cycle a "
        f"step is. Dotted: where the modes are, or the median where no second mode is shown. "
        f"Several modes: {several or 'in no run'}. "
        f"{'Line: what the fitted modes would put into each bin. ' if len(curves) else ''}",
    )
    # Not a table: its cells would cut the sentences off.
    sentences = modes[["label", "sentence"]]
    show_sentences(f"{label}: {sentence}" for label, sentence in sentences.to_numpy())
    download(view, "step-time-modes", sentences)


def _titles(experiments: pd.DataFrame, modes: dict[str, list[float]]) -> dict[str, str]:
    """`<b>Exp5</b>  s 1, B 8, P 16: modes at 14.6 s and 28.6 s`, by run name."""
    titles = {}
    for row in records(experiments):
        knobs = (row["max_staleness"], row["prompts_per_optim_step"], row["prompts_per_rollout_sync"])
        title = f"<b>{escape(row['label'])}</b>"
        if not any(pd.isna(knob) for knob in knobs):
            title += "  s {:.0f}, B {:.0f}, P {:.0f}".format(*knobs)
        found = modes.get(row["run_name"], [])
        if len(found) > 1:
            title += ": modes at " + " and ".join(f"{seconds_text(seconds)} s" for seconds in found)
        titles[row["run_name"]] = title
    return titles


def _parts(view: View, runs: tuple[str, ...]) -> None:
    """Where the learner's time goes, by position in the sync cycle."""
    st.subheader("Where the learner's time goes")
    positions = view.step_positions(runs)
    if positions.empty:
        st.info("No run has come past its first sync cycle yet.")
        return
    columns = {part: f"{part}_s" for part in PART_COLOURS}
    drawn = positions.head(_MOST_BARS)
    rest = f" The first {len(drawn)} of {len(positions)} are drawn; the table has all."
    show_figure(
        view,
        "step-parts",
        step_parts(drawn),
        drawn[["label", "run_name", "cycle_position", "steps", "wall_s", *columns.values()]],
        "Mean seconds a step: waiting for groups, draining the engine before a sync, learning, "
        "the sync itself, checkpoints, and the rest. Runs that sync every k > 1 steps have "
        f"a bar for each of the k.{rest if len(drawn) < len(positions) else ''}",
    )
    show_table(
        view,
        "step-parts-table",
        positions.assign(place=positions["cycle_position"] + 1),
        {
            "label": text("Run"),
            "place": number("Step after sync", "%d"),
            "steps": number("Steps", "%d"),
            "wall_s": number("Step time (s)", "%.2f"),
            "wall_std_s": number("± std", "%.2f"),
            **{column: number(f"{part.capitalize()} (s)", "%.2f") for part, column in columns.items()},
            "off_policy_steps_mean": number("Mean age (steps)", "%.2f"),
        },
    )


def _overlap(view: View, runs: tuple[str, ...]) -> None:
    """How much of the time the busier of engine and learner worked."""
    st.subheader("Overlap of engine and learner")
    experiments = view.experiments
    overlap = overlap_table(experiments[experiments["run_name"].isin(runs)])
    if overlap.empty:
        st.info(
            "No trace of these runs tells when the engine was busy: they were made elsewhere, or by another "
            "trainer. `sweepctl run` writes such traces."
        )
        return
    show_figure(
        view,
        "overlap",
        overlap_bars(overlap, arm_styles(view.report.experiments)),
        overlap,
        "Overlap efficiency: prompts a second, as a share of what they would be if the busier of engine and "
        "learner never waited. At 100 % one of the two is always at work. The engine is busy while at least "
        "one request runs, however few; the learner is while it learns, saves, or does anything but wait, "
        "drain and sync.",
    )


def _course(view: View, steps: pd.DataFrame) -> None:
    """Step time against step."""
    st.subheader("In the course of training")
    drawn = shown_steps(steps)
    thinned = f" Of {len(steps):,} steps the {len(drawn):,} are drawn that stand out of their stretch."
    show_figure(
        view,
        "step-times",
        step_times(drawn, _titles(view.experiments, {})),
        drawn[["label", "run_name", "step", "cycle_position", "wall_s"]],
        "Seconds a step, from the end of one to the end of the next, against the step; the colour says where "
        "in the sync cycle a step is. Steps of runs with different B train different numbers of prompts."
        f"{thinned if len(drawn) < len(steps) else ''}",
    )


def _published(view: View) -> None:
    """What was published of runs that were made elsewhere; never in one figure with what was measured."""
    times = view.left(view.report.published_step_times)
    if times.empty:
        return
    st.subheader("Published step times")
    figures = view.report.published_speed[["run_name", *_PUBLISHED]]
    show_table(
        view,
        "published-step-times",
        times.merge(figures, on="run_name", how="left"),
        {
            "label": text("Run"),
            **{column: number(title, "%.1f") for column, title in _PUBLISHED.items()},
            "text": text("Published of its steps", width="large"),
        },
        "Of runs that were made elsewhere, as published; nothing here was measured by this project.",
    )


_PUBLISHED = {
    "step_mean_s": "Mean (s)",
    "step_std_s": "± std",
    "step_median_s": "Median (s)",
    "step_min_s": "Min (s)",
    "step_max_s": "Max (s)",
}
