"""Plan: what was predicted of each run before its first step, and how right that was."""

import pandas as pd
import streamlit as st

from dashboard.data import View
from dashboard.explain import show_command
from dashboard.page.plan.costs import show_costs
from dashboard.shown import (
    MOST_RUNS,
    Columns,
    download,
    escaped,
    first_labels,
    hidden,
    interval,
    number,
    show_figure,
    show_sentences,
    show_table,
    text,
)
from results.figures.colours import PART_COLOURS, arm_styles
from results.figures.plan import phase_bars, predicted_against_measured
from results.report.cells import counted, duration
from results.report.plan import plan_observations
from results.statistics.wording import seconds_text
from results.tables.plan_arms import plan_arms_table

_HOUR_S = 3600
_FIRST_SENTENCES = 5
"""Of runs, before figures and tables: more would hide these."""


def show(view: View) -> None:
    """Draws the page."""
    st.title("Plan")
    everything = view.report.plan
    if everything.empty:
        _say_how_to_predict(view)
        return
    plan = view.left(everything)
    if plan.empty:
        st.info("No run that the filter leaves has a prediction. The filter in the sidebar chooses others.")
        return
    arms = plan_arms_table(view.experiments, plan)
    show_sentences(plan_observations(plan, arms))
    _without(view, plan)
    measured = plan[plan["measured_step_s"].notna()]
    _sentences(view, measured)
    st.subheader("Step time")
    if len(measured):
        _predicted_and_measured(view, measured)
    _arms(view, arms)
    _runs(view, plan, measured)
    _parts(view, plan)
    _speed(view, plan)
    _staleness(view, plan)
    _groups(view, plan)
    show_costs(view, plan)


def _say_how_to_predict(view: View) -> None:
    st.info(
        "No run of this sweep has a prediction. Where costs are known, `sweepctl run` writes one into "
        "sweep.json before a run's first step; a step that is done can no longer be predicted."
    )
    for command, purpose in _COMMANDS.items():
        st.markdown(purpose)
        show_command(command, view.runs_dir)


def _without(view: View, plan: pd.DataFrame) -> None:
    """Which runs have no prediction, beside those that have one."""
    possible = view.experiments[view.experiments["state"] != "infeasible"]
    without = possible.loc[~possible["run_name"].isin(plan["run_name"]), "label"]
    if len(without):
        st.info(f"Without a prediction: {escaped(first_labels(without))}.")


def _sentences(view: View, measured: pd.DataFrame) -> None:
    """What is to be said of each run with steps: failed assumptions first, then by error."""
    if measured.empty:
        st.info(
            "No run has finished a step yet, so these are the predictions alone. What is measured is put "
            "beside them as soon as there is something."
        )
        return
    st.subheader("Run by run")
    ranked = measured.assign(
        failed=measured["failed_assumption"].notna(),
        done=measured["state"] == "succeeded",
        error=measured["step_error"].abs(),
    ).sort_values(["failed", "done", "error"], ascending=False, kind="stable")
    show_sentences(ranked["sentence"].head(_FIRST_SENTENCES))
    if len(rest := ranked["sentence"].iloc[_FIRST_SENTENCES:MOST_RUNS]):
        with st.expander(counted(len(rest), "more run")):
            show_sentences(rest)
            if len(ranked) > MOST_RUNS:
                st.caption(f"The first {MOST_RUNS} of {len(ranked):,} runs; the CSV has all.")
    download(view, "plan-sentences", ranked[["label", "run_name", "failed_assumption", "sentence"]])


def _predicted_and_measured(view: View, measured: pd.DataFrame) -> None:
    """Mean step times in one figure."""
    show_figure(
        view,
        "predicted-and-measured",
        predicted_against_measured(measured, arm_styles(view.report.experiments)),
        measured[["label", "run_name", "state", *_STEP_TIME, "step_error"]],
        "Mean step time, predicted against measured, a point for each run; on the line the two are equal. "
        "Bars: where chance alone, of lengths and verdicts, puts 95 % of runs with these costs; they do not "
        f"show how uncertain the costs are.{_so_far(measured)}",
        title="mean step time, predicted and measured",
    )


def _arms(view: View, arms: pd.DataFrame) -> None:
    """Where several seeds were predicted, their means."""
    if not (arms["seeds"] > 1).any():
        return
    ends = ("measured_step_low", "measured_step_high"), ("measured_step_least", "measured_step_most")
    within, between = (interval(arms[low], arms[high], ".2f") for low, high in ends)
    table = arms.assign(
        error_percent=100 * arms["step_error"], measured_interval=within, measured_range=between
    )
    show_table(
        view,
        "plan-arms",
        table,
        _with_values(table, _ARM_COLUMNS),
        "Means over seeds, each of a run's mean step time. The interval, from three seeds on, is of the "
        "measured one; runs of one arm differ by what their machine did at the time, too.",
    )


def _runs(view: View, plan: pd.DataFrame, measured: pd.DataFrame) -> None:
    """Mean step time of each run, and which modes it has."""
    beside = (
        " Measured is the one run that there was. Error: predicted over measured, less 100 %."
        f"{_so_far(measured)}"
    )
    plays = " or ".join(f"{count:,}" for count in sorted(plan["replications"].unique()))
    table = plan.assign(
        error_percent=100 * plan["step_error"],
        chance_interval=interval(plan["step_low_s"], plan["step_high_s"], ".2f"),
        unfinished=plan["state"].where(plan["state"] != "succeeded", None),
        predicted_modes=plan["predicted_modes"].map(_locations),
        measured_modes=plan["measured_modes"].map(_locations),
        as_many=plan["modes_agree"].map({True: "yes", False: "no"}),
    )
    show_table(
        view,
        "plan-step-times",
        table,
        _with_values(table, _STEP_COLUMNS),
        f"Mean seconds a step, over all steps. Predicted from {plays} simulated runs with other draws; "
        "95 %: where chance alone puts so many of such runs. Modes: where those of step time are, found by "
        f"the test that measurements get.{beside if len(measured) else ''}",
    )


def _parts(view: View, plan: pd.DataFrame) -> None:
    """What a step is made of."""
    st.subheader("Parts of a step")
    worst = plan["step_error"].abs().sort_values(ascending=False, kind="stable").head(MOST_RUNS)
    drawn = plan[plan.index.isin(worst.index)]
    names = [f"{kind}_{part}_s" for part in PART_COLOURS for kind in ("predicted", "measured")]
    rest = (
        f" Drawn are the {MOST_RUNS} of {len(plan):,} runs with the largest errors."
        if len(plan) > MOST_RUNS
        else ""
    )
    show_figure(
        view,
        "plan-parts",
        phase_bars(drawn),
        drawn[["label", "run_name", "state", *names]],
        "Mean seconds a step by part, hatched as predicted, full as measured: waiting for groups, draining "
        f"the engine before a sync, learning, the sync itself, checkpoints, and the rest.{rest}",
        title="parts of a step, predicted and measured",
    )


def _speed(view: View, plan: pd.DataFrame) -> None:
    """Prompts a second, how many times the baseline's that is, and how long a run takes."""
    st.subheader("Speed")
    total_s = plan["predicted_wall_s"].sum()
    together = f"{total_s / _HOUR_S:,.1f} h" if total_s > 2 * _HOUR_S else duration(total_s)
    measured = (
        " Measured: speed-ups over whole sync cycles after the first, with the 95 % interval; the training "
        "time of runs that are done."
    )
    table = plan.assign(
        speedup_interval=interval(plan["speedup_low"], plan["speedup_high"], ".2f"),
        **{f"{kind}_minutes": plan[f"{kind}_wall_s"] / 60 for kind in ("predicted", "measured")},
    )
    show_table(
        view,
        "plan-speed",
        table,
        _with_values(table, _SPEED_COLUMNS),
        "Speed-up: prompts trained a second, as a multiple of the matched baseline's; predicted over all "
        "steps. Training time: from the first dispatch to the end of the last step, without start-up and "
        f"evaluation; of these runs one after the other {together} as predicted."
        f"{measured if table['measured_step_s'].notna().any() else ''}",
    )


def _staleness(view: View, plan: pd.DataFrame) -> None:
    """Age, waste and idle time."""
    st.subheader("Staleness, waste and idle time")
    shares = [f"{kind}_{share}" for share in _SHARES for kind in ("predicted", "measured")]
    table = plan.assign(**{name: 100 * plan[name].astype(float) for name in shares})
    show_table(
        view,
        "plan-staleness",
        table,
        _with_values(table, _STALENESS_COLUMNS),
        "Age: how many optimizer steps the learner was ahead of the policy that began a group, mean over "
        "trained groups. Waste: sampled tokens that are not trained on. Idle, as shares of the training "
        "time: the engine works on nothing or a sync holds it up; the learner waits or drains.",
    )


def _groups(view: View, plan: pd.DataFrame) -> None:
    """What generation came to."""
    st.subheader("Groups")
    show_table(
        view,
        "plan-groups",
        plan,
        _with_values(plan, _GROUP_COLUMNS),
        "Dispatched: groups for each that is trained; the others are filtered, stale, cut off or left over. "
        "Generation: from a group's dispatch to its end, beside the others on the engine. Length: "
        "completion tokens of a trained group.",
    )


def _so_far(measured: pd.DataFrame) -> str:
    """Which runs go on, so that of them a part is compared with the whole."""
    going_on = measured.loc[measured["state"] != "succeeded", "label"]
    return f" Not done, so measured over the steps so far: {first_labels(going_on)}." if len(going_on) else ""


def _locations(modes: object) -> str | None:
    """`14.1, 28.6`: where modes are."""
    return ", ".join(map(seconds_text, modes)) if isinstance(modes, list) and modes else None


def _with_values(table: pd.DataFrame, columns: Columns) -> Columns:
    """Without those in which nothing stands, as measurements before there are any."""
    return {name: column for name, column in columns.items() if table[name].notna().any()}


_COMMANDS = {
    "sweepctl plan SPEC --from RUN": "To predict a sweep from the costs of a run that has finished:",
    "sweepctl plan SPEC --pilot": "Where none has, from a few steps of one setting:",
    "sweepctl run SPEC": "With such a run or pilot, this writes the predictions down and then trains:",
}
_SHARES = ("wasted_token_share", "engine_idle_share", "learner_idle_share")
_STEP_TIME = ("predicted_step_s", "step_low_s", "step_high_s", "measured_step_s")
_STEP_COLUMNS: Columns = {
    "label": text("Run"),
    "unfinished": text("State"),
    "predicted_step_s": number("Predicted (s)", "%.2f"),
    "measured_step_s": number("Measured (s)", "%.2f"),
    "error_percent": number("Error", "%+.1f %%", "predicted over measured, less 100 %"),
    "chance_interval": text("95 %", "of runs with these costs, by chance alone"),
    "predicted_modes": text("Modes predicted (s)"),
    "measured_modes": text("Modes measured (s)"),
    "as_many": text("Same number"),
    "step_low_s": hidden(),
    "step_high_s": hidden(),
}
_ARM_COLUMNS: Columns = {
    "label": text("Arm"),
    "seeds": number("Seeds", "%d", "that were predicted and are done"),
    "predicted_step_s": number("Predicted (s)", "%.2f"),
    "measured_step_s": number("Measured (s)", "%.2f"),
    "error_percent": number("Error", "%+.1f %%", "predicted over measured, less 100 %"),
    "measured_interval": text("95 %", "of the measured mean, over seeds"),
    "measured_range": text("Seeds from–to", "the least and the most of the seeds measured"),
    **{f"measured_step_{end}": hidden() for end in ("low", "high", "least", "most")},
}
_SPEED_COLUMNS: Columns = {
    "label": text("Run"),
    "predicted_speedup": number("Speed-up predicted", "%.2f×"),
    "measured_speedup": number("measured", "%.2f×"),
    "speedup_interval": text("95 %"),
    "predicted_prompts_per_s": number("Prompts/s predicted", "%.3f"),
    "measured_prompts_per_s": number("measured", "%.3f"),
    "predicted_minutes": number("Training predicted (min)", "%.1f"),
    "measured_minutes": number("measured", "%.1f"),
    "speedup_low": hidden(),
    "speedup_high": hidden(),
}
_STALENESS_COLUMNS: Columns = {
    "label": text("Run"),
    "predicted_age_mean": number("Age predicted", "%.2f"),
    "measured_age_mean": number("measured", "%.2f"),
    "predicted_wasted_token_share": number("Waste predicted", "%.1f %%"),
    "measured_wasted_token_share": number("measured", "%.1f %%"),
    "predicted_engine_idle_share": number("Engine idle pred.", "%.1f %%"),
    "measured_engine_idle_share": number("measured", "%.1f %%"),
    "predicted_learner_idle_share": number("Learner idle pred.", "%.1f %%"),
    "measured_learner_idle_share": number("measured", "%.1f %%"),
}
_GROUP_COLUMNS: Columns = {
    "label": text("Run"),
    "predicted_dispatched_per_trained": number("Dispatched predicted", "%.2f"),
    "measured_dispatched_per_trained": number("measured", "%.2f"),
    "predicted_latency_s": number("Generation predicted (s)", "%.2f"),
    "measured_latency_s": number("measured", "%.2f"),
    "predicted_completion_tokens_per_prompt": number("Length predicted", "%.0f"),
    "measured_completion_tokens_per_prompt": number("measured", "%.0f"),
}
