"""Step times: how they are distributed, why, how they went, and what they are made of."""

import pandas as pd
import streamlit as st

from dashboard.data import View
from dashboard.shown import download, number, show_figure, show_table, text
from results.figures.colours import PART_COLOURS, arm_styles
from results.figures.steps import step_parts, step_time_bins, step_time_histograms, step_times
from results.store import records


def show(view: View) -> None:
    """Draws the page."""
    st.title("Step times")
    steps = view.steps
    if steps.empty:
        st.info("No run has finished a step yet.")
        return
    _distribution(view, steps)
    _parts(view)
    st.subheader("In the course of training")
    show_figure(
        view,
        "step-times",
        step_times(steps, arm_styles(view.report.experiments)),
        steps[["label", "run_name", "step", "wall_s"]],
        "Seconds a step, from the end of one to the end of the next, against the step. "
        "Steps of runs with different B train different numbers of prompts.",
    )


def _distribution(view: View, steps: pd.DataFrame) -> None:
    """Histograms, and what the tests make of them."""
    st.subheader("Distribution")
    bins = step_time_bins(steps)
    found = {row["run_name"]: row["mode_seconds"] for row in records(view.report.modes)}
    several = {run: modes for run, modes in found.items() if len(modes) > 1}
    bimodal = ", ".join(
        bins.drop_duplicates("run_name").loc[lambda rows: rows["run_name"].isin(several), "label"]
    )
    show_figure(
        view,
        "step-time-histograms",
        step_time_histograms(bins, _titles(view.report.experiments, several), several),
        bins,
        f"Number of steps by their time, all runs on one axis; the colour says where in the sync cycle a "
        f"step is. Dotted: modes, where there are several: {bimodal or 'in no run'}.",
    )
    # Not a table: its cells would cut the sentences off.
    sentences = view.report.modes[["label", "sentence"]]
    st.markdown("\n".join(f"- **{label}**: {sentence}" for label, sentence in sentences.to_numpy()))
    download(view, "step-time-modes", sentences)


def _titles(experiments: pd.DataFrame, modes: dict[str, list[float]]) -> dict[str, str]:
    """`<b>Exp5</b>  s 1, B 8, P 16: modes at 14.6 s and 28.6 s`, by run name."""
    titles = {}
    for row in records(experiments):
        knobs = (row["max_staleness"], row["prompts_per_optim_step"], row["prompts_per_rollout_sync"])
        title = f"<b>{row['label']}</b>"
        if not any(pd.isna(knob) for knob in knobs):
            title += "  s {:.0f}, B {:.0f}, P {:.0f}".format(*knobs)
        if row["run_name"] in modes:
            title += ": modes at " + " and ".join(f"{seconds:.3g} s" for seconds in modes[row["run_name"]])
        titles[row["run_name"]] = title
    return titles


def _parts(view: View) -> None:
    """Where the learner's time goes, by position in the sync cycle."""
    st.subheader("Where the learner's time goes")
    positions = view.step_positions
    if positions.empty:
        st.info("No run has come past its first sync cycle yet.")
        return
    columns = {part: f"{part}_s" for part in PART_COLOURS}
    show_figure(
        view,
        "step-parts",
        step_parts(positions),
        positions[["label", "run_name", "cycle_position", "steps", "wall_s", *columns.values()]],
        "Mean seconds a step: waiting for groups, draining the engine before a sync, learning, "
        "the sync itself, checkpoints, and the rest. Runs that sync every k > 1 steps have "
        "a bar for each of the k.",
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
