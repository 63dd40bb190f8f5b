"""Speed: how much faster each setting is, in four units, and over which knobs."""

import pandas as pd
import streamlit as st

from dashboard.choice import choose_one
from dashboard.data import View
from dashboard.page.speed.knob_map import show_knob_map
from dashboard.page.speed.no_pair import why_no_pair
from dashboard.page.speed.published import show_published_speed
from dashboard.page.speed.speedups import arm_speedups, show_bars
from dashboard.shown import Columns, escaped, hidden, number, show_table, text
from results.figures.speed import UNITS, in_unit
from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.report.cells import NONE, durations
from results.tables.arms import arm_label
from results.tables.speed import REWARD_WINDOW_STEPS

MOST_BARS = 40
_MEANINGS = (
    "Matched baseline: the same knobs and seed, but synchronous (or as the spec says). Reference run: one "
    "for all; knobs differ. Or any run; the label of an arm with several seeds means each seed's own run."
)


def show(view: View) -> None:
    """Draws the page."""
    st.title("Speed")
    measured = int(view.report.experiments["prompts_per_s"].notna().sum())
    if measured > 1:
        report, against = _choose_opponent(view)
        _bars_and_tables(view, report, against)
        show_knob_map(view, report, against)
    elif measured:
        st.info("Only one run has finished a step yet: there is none to compare it with.")
    elif view.report.published_speed.empty:
        st.info("No run has finished a step yet; `sweepctl status` says how far they are.")
    show_published_speed(view)


def _choose_opponent(view: View) -> tuple[Report, str]:
    """The report with the comparisons chosen, and the kind of opponent they are with."""
    report = view.report
    kinds = {OPPONENTS[against]: against for against in report.speedups["against"].unique()}
    possible = report.experiments[report.experiments["state"] != "infeasible"]
    arms = [arm_label(label) for label in possible["label"]]
    # A label may stand for several runs: those of an arm, one of each seed.
    chosen = str(
        st.selectbox(
            "Compared with",
            list(dict.fromkeys([*kinds, *arms, *possible["label"]])),
            key="baseline",
            bind="query-params",
            help=_MEANINGS,
            width=480,
        )
    )
    return (report, kinds[chosen]) if chosen in kinds else (view.compared_with(chosen), "chosen")


def _bars_and_tables(view: View, report: Report, against: str) -> None:
    unit = choose_one("Drawn", list(UNITS), "unit")
    part = view.left(report.speedups[report.speedups["against"] == against])
    if part.empty:
        st.info(escaped(why_no_pair(view, report, against)))
        return
    arms = arm_speedups(view, report, against)
    several = arms[arms["seeds"] > 1]
    if len(several):
        st.subheader("Over seeds", help="The only intervals that speak of settings rather than of runs.")
        _bars(view, "speedups-over-seeds", several, unit)
        show_table(
            view, "speedup-over-seeds-table", *_with_marks(_arm_cells(several), _ARM_COLUMNS), _ARM_NOTE
        )
    st.subheader("Runs")
    _bars(view, f"speedups-{against}", part, unit)
    unlike = (part["step_time_comparable"] == False).any()  # noqa: E712 - NaN is neither
    mark = "† their steps train different numbers of prompts: not a speed-up. " if unlike else ""
    show_table(
        view, f"speedup-table-{against}", *_with_marks(_run_cells(part), _RUN_COLUMNS), mark + _RUN_NOTE
    )


def _bars(view: View, name: str, rows: pd.DataFrame, unit: str) -> None:
    ratios = in_unit(rows, UNITS[unit])
    if ratios.empty:
        st.info(f"There is no pair to compare by {unit}: {_LACKING.get(unit, _NO_CYCLE)}.")
        return
    if ratios["bound"].notna().all():
        st.info("Of no pair both runs reached the reward before they ended: the table says what is known.")
        return
    show_bars(view, name, rows, UNITS[unit], MOST_BARS)


def _run_cells(part: pd.DataFrame) -> pd.DataFrame:
    """Numbers to sort by, and intervals as text beside them."""
    return part.assign(
        comparable=part["step_time_comparable"].map({True: "", False: "†"}).fillna(""),
        **{f"{ends}_interval": _intervals(part, ends) for ends in _ENDS},
        to_reward=list(map(_to_reward, part["time_to_reward_speedup"], part["time_to_reward_bound"])),
        times=list(map(durations, part["other_time_to_reward_s"], part["time_to_reward_s"])),
    )


def _arm_cells(arms: pd.DataFrame) -> pd.DataFrame:
    return arms.assign(
        comparable=arms["step_time_comparable"].map({True: "", False: "†"}).fillna(""),
        **{f"{ends}_interval": _intervals(arms, ends) for ends in (*_ENDS, "time_to_reward")},
    )


def _with_marks(cells: pd.DataFrame, columns: Columns) -> tuple[pd.DataFrame, Columns]:
    """The columns but those of marks that no row has."""
    return cells, {
        name: column for name, column in columns.items() if name != "comparable" or (cells[name] != "").any()
    }


def _to_reward(ratio: float, bound: str | None) -> str:
    """`1.45×`, or `< 1.45×` where one of the two never came to the reward."""
    return NONE if pd.isna(ratio) else f"{'' if pd.isna(bound) else f'{bound} '}{ratio:.2f}×"


def _intervals(rows: pd.DataFrame, ends: str) -> list[str]:
    """`1.40–1.50`; of two seeds their range, `(1.40, 1.50)`."""
    found = rows.reindex(columns=[f"{ends}_{end}" for end in ("low", "high", "least", "most")])
    return [_interval(*ends) for ends in found.itertuples(index=False)]


def _interval(low: float, high: float, least: float, most: float) -> str:
    if pd.notna(low) and pd.notna(high):
        return f"{low:.2f}–{high:.2f}"
    return f"({least:.2f}, {most:.2f})" if pd.notna(least) and pd.notna(most) else "–"


_NO_CYCLE = "both must have finished a whole sync cycle after their first"
_LACKING = {"time to reward": "the other's reward did not rise, or not all came to it before they ended"}
_ENDS = ("step_time", "prompts_per_s", "completion_tokens_per_s")
_RUN_NOTE = (
    "Ratios over whole sync cycles after the first, with 95 % intervals within these runs; above 1 is "
    "faster. To reward: the other's training time over this one's until the trailing mean of "
    f"{REWARD_WINDOW_STEPS} steps reached the other's mean over its last fifth, with both times; <: this run "
    "ended before it reached it, >: the other did; –: both did, or the other's reward did not rise."
)
_ARM_NOTE = (
    "Geometric means over seeds, each against its twin of the same seed. Intervals: 95 % t-intervals over "
    "seeds, from three on; (a, b): the range of two. To reward: only where both runs of every "
    "seed reached it."
)
_WHO: Columns = {"label": text("Run"), "other_label": text("Against")}
_PROMPTS: Columns = {
    "prompts_per_s_speedup": number("Prompts/s", "%.2f×", "prompts trained a second"),
    "prompts_per_s_interval": text("95 %"),
}
_STEP_TIME: Columns = {
    "comparable": text("", "†: their steps train different numbers of prompts", width=40),
    "step_time_interval": text("95 %"),
}
_TOKENS: Columns = {
    "completion_tokens_per_s_speedup": number("Tokens/s", "%.2f×", "completion tokens trained on a second"),
    "completion_tokens_per_s_interval": text("95 %"),
}
_RUN_COLUMNS: Columns = {
    **_WHO,
    **_PROMPTS,
    "step_time_cycles_speedup": number(
        "Step time", "%.2f×", "mean step time of the other run over this one's"
    ),
    **_STEP_TIME,
    **_TOKENS,
    "to_reward": text("To reward", "< and >: one of the two runs ended before it reached it"),
    "times": text("Other / this"),
    "time_to_reward_bound": hidden(),
    "time_to_reward_speedup": hidden(),
}
_ARM_COLUMNS: Columns = {
    **_WHO,
    "label": text("Arm"),
    "seeds": number("Seeds", "%d"),
    **_PROMPTS,
    "step_time_speedup": number("Step time", "%.2f×", "mean step time of the other runs over these"),
    **_STEP_TIME,
    **_TOKENS,
    "time_to_reward_speedup": number("To reward", "%.2f×"),
    "time_to_reward_interval": text("95 %"),
}
