"""Overview: what the sweep shows, how much faster each setting is, and what was run."""

import pandas as pd
import streamlit as st

from dashboard.data import View
from dashboard.shown import Columns, number, show_figure, show_table, text
from results.figures.colours import arm_styles
from results.figures.speed import speedup_bars
from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.tables.speed import REWARD_WINDOW_STEPS

_MEANINGS = {
    "baseline": "the same knobs and seed, but synchronous (or as the spec says)",
    "reference": "one run for all; knobs differ",
}


def show(view: View) -> None:
    """Draws the page."""
    report = view.report
    st.title("Overview")
    if report.notices:
        st.warning("\n".join(f"- {notice}" for notice in report.notices))
    st.subheader("What this shows")
    st.markdown("\n".join(f"- {sentence}" for sentence in report.observations))
    for against, meaning in _MEANINGS.items():
        part = report.speedups[report.speedups["against"] == against]
        if len(part):
            st.subheader(_title(against), help=meaning)
            _speedups(view, against, part)
    if len(report.seeds):
        _seeds(view)
    st.subheader("Experiments")
    _experiments(view, report)


def _title(against: str) -> str:
    return f"Against the {OPPONENTS[against]}"


def _speedups(view: View, against: str, part: pd.DataFrame) -> None:
    """Figure and table against one kind of opponent; the two kinds are never mixed."""
    measured = part.dropna(subset=["prompts_per_s_speedup"])
    if measured.empty:
        st.info("No two runs that can be compared have finished a whole sync cycle after their first yet.")
        return
    words = "; ".join(
        f"{label} {ratio:.2f} times {other}"
        for label, other, ratio in zip(
            measured["label"], measured["other_label"], measured["prompts_per_s_speedup"], strict=True
        )
    )
    show_figure(
        view,
        f"speedups-{against}",
        speedup_bars(measured, arm_styles(view.report.experiments)),
        measured[_NUMBERS],
        f"Prompts trained a second, as a multiple of the other run's; right of 1× is faster: {words}. "
        f"Lines and brackets: 95 % interval within these runs, from whole sync cycles after the first.",
    )
    table = part.assign(
        comparable=part["step_time_comparable"].map({True: "yes", False: "† no"}).fillna("–"),
        time_to_reward_min=part["time_to_reward_s"] / 60,
        other_time_to_reward_min=part["other_time_to_reward_s"] / 60,
    )
    unlike = (part["step_time_comparable"] == False).any()  # noqa: E712 - NaN is neither
    mark = "† their steps train different numbers of prompts: not a speed-up. " if unlike else ""
    show_table(
        view,
        f"speedup-table-{against}",
        table,
        _SPEEDUP_COLUMNS,
        f"{mark}Time to reward: training time until the trailing mean of {REWARD_WINDOW_STEPS} steps reaches "
        f"the other run's mean over its last fifth; –: not reached.",
    )


def _seeds(view: View) -> None:
    """Arms with several seeds: the only intervals that speak of settings rather than of runs."""
    report = view.report
    labels = report.experiments.drop_duplicates("arm_id").set_index("arm_id")[["label", "run_name"]]
    st.subheader("Over seeds")
    seeds = report.seeds.assign(
        run_name=report.seeds["arm_id"].map(labels["run_name"]),
        other_label=report.seeds["other_arm_id"].map(labels["label"]),
        prompts_per_s_low=report.seeds["low"],
        prompts_per_s_high=report.seeds["high"],
    )
    for against in _MEANINGS:
        part = seeds[seeds["against"] == against]
        if part.empty:
            continue
        show_figure(
            view,
            f"speedups-over-seeds-{against}",
            speedup_bars(part, arm_styles(report.experiments)),
            part[["label", "other_label", "against", "seeds", "prompts_per_s_speedup", "low", "high"]],
            f"{_title(against)}: geometric mean over seeds, each against its own twin, with a 95 % "
            f"t-interval.",
        )


def _experiments(view: View, report: Report) -> None:
    several_seeds = report.experiments["seed"].nunique() > 1
    labels, names = report.experiments["label"], report.experiments["run_name"]
    table = report.experiments.assign(
        label=labels.where(labels != names, "–"),  # a point that cannot run has no number
        progress=[
            f"{done} / {planned:.0f}" if pd.notna(planned) else str(done)
            for done, planned in zip(
                report.experiments["steps_done"], report.experiments["max_steps"], strict=True
            )
        ],
        training_min=report.experiments["training_s"] / 60,
        overlap_percent=report.experiments["overlap_efficiency"] * 100,
    )
    columns = {
        name: column for name, column in _EXPERIMENT_COLUMNS.items() if name != "seed" or several_seeds
    }
    show_table(
        view,
        "experiments",
        table,
        columns,
        "s: max_staleness, B: prompts_per_optim_step, P: prompts_per_rollout_sync, both in prompts. "
        "Overlap: prompts/s over what they would be if the busier of engine and learner never waited; "
        "the engine counts as busy while at least one request runs.",
    )


_NUMBERS = [
    "label",
    "other_label",
    "against",
    "prompts_per_s_speedup",
    "prompts_per_s_low",
    "prompts_per_s_high",
]
_SPEEDUP_COLUMNS: Columns = {
    "label": text("Run"),
    "other_label": text("Against"),
    "step_time_speedup": number("Step time", "%.2f×", "mean step time of the other run over this one's"),
    "comparable": text("Same B", "whether both runs' steps train the same number of prompts"),
    "prompts_per_s_speedup": number("Prompts/s", "%.2f×"),
    "prompts_per_s_low": number("95 % from", "%.2f"),
    "prompts_per_s_high": number("to", "%.2f"),
    "completion_tokens_per_s_speedup": number("Tokens/s", "%.2f×", "completion tokens trained on a second"),
    "completion_tokens_per_s_low": number("95 % from", "%.2f"),
    "completion_tokens_per_s_high": number("to", "%.2f"),
    "time_to_reward_min": number("To reward (min)", "%.1f"),
    "other_time_to_reward_min": number("Other (min)", "%.1f"),
}
_EXPERIMENT_COLUMNS: Columns = {
    "label": text("Run"),
    "run_name": text("Name", width="medium"),
    "state": text("State"),
    "max_staleness": number("s", "%d", "max_staleness: how many steps old a sample may be"),
    "prompts_per_optim_step": number("B", "%d", "prompts_per_optim_step"),
    "prompts_per_rollout_sync": number("P", "%d", "prompts_per_rollout_sync"),
    "lr": number("LR", "%.1e"),
    "seed": number("Seed", "%d"),
    "progress": text("Steps"),
    "training_min": number("Time (min)", "%.1f", "training time"),
    "step_mean_s": number("Step (s)", "%.2f", "mean step time"),
    "step_std_s": number("± std", "%.2f"),
    "prompts_per_s": number("Prompts/s", "%.3f"),
    "overlap_percent": number("Overlap", "%.0f %%"),
}
