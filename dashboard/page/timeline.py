"""Timeline: what engine, learner, sync and verifier did when."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.choice import number_binding
from dashboard.data import View
from dashboard.page.step_times import why_no_steps
from dashboard.shown import show_figure, show_sentences
from results.figures.timeline import Panel, timelines
from results.statistics.wording import seconds_text
from results.store import records
from results.tables.timeline import Timeline, lane_sentence

MOST_SPANS = 3000
"""Of one figure: what a browser draws without delay."""
_LEAST_STEPS = 4
_CAPTION = (
    "Groups being generated, and the lanes of engine, learner, sync and verifier. Filled is work, hatched is "
    "waiting: of the learner for groups, of the engine because nothing may be dispatched (admission), a sync "
    "is due (drain) or going on (sync). Thin lines: where a step begins. Gaps in the learner's lane are "
    "syncs, which have a lane of their own, and what is neither. Verify: from the end of a group's "
    "generation to its verdict. A group without a fate so far counts as being generated."
)
_Row = Mapping[str, Any]
"""Of view `run_summary`."""


def show(view: View) -> None:
    """Draws the page."""
    st.title("Timeline")
    runs = {row["run_name"]: row for row in records(view.experiments) if row["steps_done"] > 0}
    if not runs:
        st.info(why_no_steps(view))
        return
    chosen, first, last = _choose(view, runs)
    shown = view.timelines(chosen, first, last, MOST_SPANS)
    rows = [runs[run] for run in chosen]
    _say_what_is_missing(rows, shown, first, last)
    panels = [(row, found) for row, found in zip(rows, shown, strict=True) if len(found.steps)]
    spans = sum(len(found.spans) for found in shown)
    if spans > MOST_SPANS:
        st.info(f"This one step has {spans:,} spans, more than the {MOST_SPANS:,} that can be drawn.")
    elif spans:
        _figure(view, panels)
    elif panels:
        st.info(
            "The traces of these steps hold no spans: the runs were made elsewhere, or by another trainer. "
            "`sweepctl run` writes traces with all lanes."
        )


def _choose(view: View, runs: Mapping[str, _Row]) -> tuple[tuple[str, ...], int, int]:
    """Draws the choice of one or two runs and a range of steps; run names, first and last step."""
    names = {row["label"]: run for run, row in runs.items()}
    order = list(names.values())
    columns = st.columns([3, 3, 2, 2])
    titles = {"upper": "Run above", "lower": "Run below"}
    chosen = [
        names[column.selectbox(titles[key], list(names), order.index(run), key=key, bind="query-params")]
        for column, key, run in zip(columns[:2], titles, _first_pair(view, order), strict=True)
    ]
    titles = {"from_step": "From step", "to_step": "To step"}
    # Without a greatest value: it would grow while a run goes on.
    ends = [
        int(
            column.number_input(
                titles[key], min_value=0, value=value, step=1, key=key, bind=number_binding(key)
            )
        )
        for column, key, value in zip(
            columns[2:], titles, _first_range([runs[run] for run in chosen]), strict=True
        )
    ]
    return tuple(dict.fromkeys(chosen)), min(ends), max(ends)


def _first_pair(view: View, runs: Sequence[str]) -> tuple[str, str]:
    """What is shown before anything is chosen: the run that gains most on its baseline, below that baseline.

    Where no two runs are compared, the first two.
    """
    for against in ("baseline", "reference"):
        speedups = view.report.speedups
        pairs = speedups[(speedups["against"] == against) & speedups["run_name"].isin(runs)]
        pairs = pairs[pairs["other_run"].isin(runs)].dropna(subset=["prompts_per_s_speedup"])
        if len(pairs):
            best = pairs.iloc[int(pairs["prompts_per_s_speedup"].argmax())]
            return str(best["other_run"]), str(best["run_name"])
    return runs[0], runs[min(1, len(runs) - 1)]


def _first_range(rows: Sequence[_Row]) -> tuple[int, int]:
    """Two whole sync cycles of the run that syncs less often, at least four steps, after as many."""
    known = (row["sync_interval_steps"] for row in rows if pd.notna(row["sync_interval_steps"]))
    interval = int(max(known, default=1))
    steps = interval * math.ceil(max(2 * interval, _LEAST_STEPS) / interval)
    first = min(steps, max(0, max(row["steps_done"] for row in rows) - steps))
    return first, first + steps - 1


def _say_what_is_missing(rows: Sequence[_Row], shown: Sequence[Timeline], first: int, last: int) -> None:
    """Where not all of the range is drawn."""
    drawn = max((_ends(found)[1] for found in shown if len(found.steps)), default=last)
    if drawn < min(last, max(row["steps_done"] for row in rows) - 1):
        st.info(
            f"Steps {first} to {last} have more than {MOST_SPANS:,} spans: those up to step {drawn} are "
            f"drawn. For the others choose a smaller range."
        )
    for row in rows:
        if row["steps_done"] <= last:
            st.info(f"The last step that {row['label']} has done is step {row['steps_done'] - 1}.")


def _figure(view: View, panels: Sequence[tuple[_Row, Timeline]]) -> None:
    spans = [found.spans.assign(label=row["label"], run_name=row["run_name"]) for row, found in panels]
    columns = ["label", "run_name", "lane", "name", "start_s", "end_s", "step", "group_id", "fate"]
    show_figure(
        view,
        "timeline",
        timelines([Panel(_title(row, found), found) for row, found in panels]),
        pd.concat(spans)[columns],
        _CAPTION,
        title=f"timeline of {' and '.join(row['label'] for row, _ in panels)}",
    )
    show_sentences(
        f"{row['label']}, {_steps(found)} ({seconds_text(found.seconds)} s): {lane_sentence(found)}."
        for row, found in panels
    )


def _title(row: _Row, found: Timeline) -> str:
    knobs = (row["max_staleness"], row["prompts_per_optim_step"], row["prompts_per_rollout_sync"])
    known = "" if any(pd.isna(knob) for knob in knobs) else "  s {:.0f}, B {:.0f}, P {:.0f}".format(*knobs)
    return f"<b>{escape(row['label'])}</b>{known}: {_steps(found)} in {seconds_text(found.seconds)} s"


def _steps(found: Timeline) -> str:
    first, last = _ends(found)
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _ends(found: Timeline) -> tuple[int, int]:
    """First and last step."""
    return int(found.steps["step"].iloc[0]), int(found.steps["step"].iloc[-1])
