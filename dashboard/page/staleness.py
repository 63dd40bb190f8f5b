"""Staleness: how old what was trained on was, what was thrown away, and what goes with age."""

import pandas as pd
import streamlit as st

from dashboard.choice import choose_one
from dashboard.data import View
from dashboard.page.step_times import why_no_steps
from dashboard.shown import (
    Columns,
    adjusted_p,
    first_runs,
    hidden,
    interval,
    number,
    show_figure,
    show_sentences,
    show_table,
    text,
)
from results.figures.colours import arm_styles
from results.figures.staleness import (
    METRIC_TITLES,
    ages,
    fate_shares,
    generated_tokens,
    metric_by_age,
    metric_by_step,
    thrown_away,
)
from results.figures.thinning import MOST_POINTS, thinned_by_run
from results.report.waste import staleness_observations
from results.statistics.age_trends import METRICS
from results.store import records
from results.tables.ages import METRIC_NAMES
from results.tables.selection import QUANTITIES, bias_verdict
from results.tables.staleness import WASTED

_MOST_ROWS = 40
_SHORT = {"completion_tokens": "length", "reward": "reward", "truncated_share": "truncation"}
"""Quantities as they are in the address."""
_BIAS_AXES = {
    "completion_tokens": "tokens a completion, as a multiple of the trained groups'",
    "reward": "mean reward, less the trained groups'",
    "truncated_share": "share of completions cut off by their limit, less the trained groups'",
}


def show(view: View) -> None:
    """Draws the page."""
    st.title("Staleness")
    runs = first_runs(view)
    report = view.report
    sentences = list(
        staleness_observations(view.left(report.waste), view.left(report.bias), view.left(report.age_trends))
    )
    if sentences:
        show_sentences(sentences)
    _ages(view, runs)
    _fates(view, runs)
    _metrics(view, runs)
    _bias(view)


def _of(frame: pd.DataFrame, runs: tuple[str, ...]) -> pd.DataFrame:
    return frame[frame["run_name"].isin(runs)]


def _ages(view: View, runs: tuple[str, ...]) -> None:
    st.subheader("Age of what was trained on")
    staleness = _of(view.report.staleness, runs)
    if staleness.empty:
        done = (view.experiments["steps_done"] > 0).any()
        st.info("The traces of these runs tell of no trained group." if done else why_no_steps(view))
        return
    show_figure(
        view,
        "ages",
        ages(staleness),
        staleness[["label", "run_name", "off_policy_steps", "groups", "share", "completion_tokens"]],
        "Trained groups by age: how many optimizer steps the learner was ahead of the policy that began "
        "them. The darker, the older.",
        title="age of what was trained on",
    )
    table = view.left(view.report.ages).assign(
        at_bound_percent=lambda rows: 100 * rows["at_bound_share"],
    )
    show_table(
        view,
        "ages-table",
        table,
        _AGE_COLUMNS,
        "Age in optimizer steps. In flight: steps done while a group was generated; in queue: while it "
        "waited, finished, for its turn. They add up to the mean age.",
    )


def _fates(view: View, runs: tuple[str, ...]) -> None:
    fates, waste = _of(view.report.fates, runs), _of(view.report.waste, runs)
    if fates.empty:
        return
    st.subheader("What became of the groups")
    show_figure(
        view,
        "fates",
        fate_shares(fates),
        fates[["label", "run_name", "fate", "groups", "share", "completions"]],
        "Groups dispatched by fate: trained; filtered, all rewards equal; evicted, too stale; aborted by a "
        "sync; failed; leftover, when the run ended; discarded by a resume; unresolved, none so far.",
        title="what became of the groups",
    )
    show_figure(
        view,
        "tokens-by-fate",
        generated_tokens(fates, waste),
        fates[["label", "run_name", "fate", "completion_tokens", "token_share"]],
        "Completion tokens generated, by fate of their group. The share never trained on leaves discarded "
        "ones out: that an attempt was cut off says nothing of the settings.",
        title="completion tokens by the fate of their group",
    )
    shares = {f"{fate}_share": 100 * view.left(view.report.waste)[f"{fate}_share"] for fate in WASTED}
    table = view.left(view.report.waste).assign(
        **shares, wasted_share=lambda rows: 100 * rows["wasted_share"]
    )
    show_table(view, "waste-table", table, _WASTE_COLUMNS)


def _metrics(view: View, runs: tuple[str, ...]) -> None:
    """One metric of the ratios at a time, against step and against age."""
    steps, report = view.steps(runs), view.report
    known = [metric for metric in METRICS if steps[metric].notna().any()]
    if not known:
        return
    st.subheader("Importance ratios and age")
    names = {METRIC_NAMES[metric]: metric for metric in known}
    name = choose_one("Metric", list(names), "metric")
    metric = names[name]
    styles = arm_styles(report.experiments)
    drawn = thinned_by_run(steps, metric)
    thinned = (
        f" Lines of more than {MOST_POINTS:,} points: of {len(steps):,} steps those with the extremes of "
        f"each stretch."
        if len(drawn) < len(steps)
        else ""
    )
    show_figure(
        view,
        f"{metric.replace('_', '-')}-by-step",
        metric_by_step(drawn, styles, metric),
        steps[["label", "run_name", "step", "off_policy_steps_mean", metric]],
        f"{METRIC_TITLES[metric].capitalize()} of each step; ratios are learner over engine, before the "
        f"step's first update.{thinned}",
        title=f"{name} by step",
    )
    effects = _of(report.age_effects, runs)
    if effects.empty:
        st.info("The traces of these runs do not tell how old their steps' groups were.")
        return
    show_figure(
        view,
        f"{metric.replace('_', '-')}-by-age",
        metric_by_age(effects, styles, metric),
        effects[["label", "run_name", "off_policy_steps", "steps", "even_steps", metric]],
        "Means over the steps of an age, runs side by side. At age 0 engine and learner hold the same "
        "weights: what is seen there is the mismatch of the two programs. Runs differ in other settings "
        "too; whether a metric goes with age is tested within a run only.",
        title=f"{name} by age",
    )
    trends = view.left(report.age_trends)
    trends = trends[trends["metric"] == metric]
    if trends.empty:
        st.info("In none of these runs does the age of the steps vary, so that a trend could be tested.")
        return
    show_table(
        view,
        f"{metric.replace('_', '-')}-trends",
        trends.assign(name=name),
        _TREND_COLUMNS,
        "Rank correlation of age and metric within blocks of eight steps; p adjusted by Holm over the "
        "metrics of a run; –: too few blocks for a test.",
    )


def _bias(view: View) -> None:
    """What was thrown away beside what was trained on, one quantity at a time."""
    bias = view.left(view.report.bias)
    if bias.empty:
        return
    st.subheader("What was thrown away, against what was trained on")
    there = [quantity for quantity in QUANTITIES if (bias["quantity"] == quantity).any()]
    names = {_SHORT[quantity]: quantity for quantity in there}
    name = choose_one("Quantity", list(names), "quantity")
    quantity = names[name]
    part = bias[bias["quantity"] == quantity]
    part = part.assign(
        verdict=[bias_verdict(row) for row in records(part)],
        interval=interval(part["low"], part["high"], _FORMS[quantity][1]),
    )
    columns = _bias_columns(quantity)
    drawn = part[part["estimate"].notna() & (part["fate"] != "aborted")]
    if drawn.empty:
        st.info(
            "None of these groups can be compared: they were cut off, or nothing was trained beside them."
        )
    else:
        first = (
            f" The first {_MOST_ROWS} of {len(drawn):,} rows are drawn." if len(drawn) > _MOST_ROWS else ""
        )
        drawn = drawn.head(_MOST_ROWS)
        show_figure(
            view,
            f"thrown-away-{name}",
            thrown_away(drawn, _BIAS_AXES[quantity]),
            drawn[list(columns)],
            f"{QUANTITIES[quantity].capitalize()} of groups thrown away against trained groups "
            f"dispatched at about the same time, with a 95 % interval, not adjusted. Filled, more or less: "
            f"shown to differ (Holm-adjusted p < 0.05); open: no difference is shown, which does not say "
            f"that there is none, or not tested.{first}",
            title=f"{name} of what was thrown away, against what was trained on",
        )
    show_table(
        view,
        f"thrown-away-{name}-table",
        part,
        columns,
        "Aborted groups were cut off before they were finished, so they are not compared. The reward of "
        "filtered groups is left out: it differs by construction.",
    )


_AGE_COLUMNS: Columns = {
    "label": text("Run"),
    "max_staleness": number("Bound s", "%d", "max_staleness"),
    "groups": number("Groups", "%d", "trained"),
    "off_policy_steps_mean": number("Mean age", "%.2f"),
    "off_policy_steps_token_mean": number("By tokens", "%.2f", "mean age, each token counting alike"),
    "off_policy_steps_median": number("Median", "%d"),
    "off_policy_steps_p90": number("90 %", "%d", "nine in ten groups are no older"),
    "off_policy_steps_max": number("Greatest", "%d"),
    "at_bound_percent": number("At bound", "%.0f %%", "share of groups as old as the bound allows"),
    "in_flight_steps_mean": number("In flight", "%.2f"),
    "in_queue_steps_mean": number("In queue", "%.2f"),
}
_WASTE_COLUMNS: Columns = {
    "label": text("Run"),
    "generated_tokens": number("Generated (tokens)", "localized"),
    "wasted_tokens": number("Never trained on (tokens)", "localized"),
    "wasted_share": number("Share", "%.1f %%"),
    **{f"{fate}_share": number(str(fate).capitalize(), "%.1f %%") for fate in WASTED},
    "discarded_tokens": number("Discarded (tokens)", "localized", "by resumes; in none of the others"),
}
_TREND_COLUMNS: Columns = {
    "label": text("Run"),
    "name": text("Metric"),
    "blocks": number("Blocks", "%d", "of eight steps, in which age and metric vary"),
    "rank_correlation": number("Rank correlation", "%+.2f"),
    "p_adjusted": adjusted_p(),
}
_FORMS = {
    "completion_tokens": (".1f", ".2f"),
    "reward": (".3f", "+.3f"),
    "truncated_share": (".3f", "+.3f"),
}
"""Of a quantity's mean, and of its comparison with the trained groups'."""


def _bias_columns(quantity: str) -> Columns:
    """With as many decimals in all rows of a column, so that they can be compared by eye."""
    mean, estimate = (f"%{form}" for form in _FORMS[quantity])
    return {
        "label": text("Run"),
        "fate": text("Fate"),
        "verdict": text("Verdict"),
        "estimate": number("Estimate", estimate, "ratio of lengths, difference of the others"),
        "interval": text("95 %"),
        "mean": number("Mean", mean),
        "trained_mean": number("Of trained", mean),
        "groups": number("Groups", "%d"),
        "compared_groups": number("Compared", "%d"),
        "p_adjusted": adjusted_p(),
        "effect_size": number("Effect size", "%+.2f", "in standard deviations over trained groups"),
        "low": hidden(),
        "high": hidden(),
    }
