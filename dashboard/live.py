"""How old the data is, how far a running sweep has come, and the new data as soon as there is some."""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data import published_at
from dashboard.shown import escaped
from results.report.build import SILENT_AFTER_S
from results.store import records

POLL_S = 10.0
"""Often enough to watch a sweep; each new snapshot costs a second or two of the cores it runs on."""
_MOST_BARS = 12


@st.fragment(run_every=POLL_S)
def follow(runs_dir: Path, shown: float | None, experiments: pd.DataFrame | None) -> None:
    """Says what is shown; runs the whole app again once something else has been published.

    Selections are widgets' state and query parameters, which both outlive such a run.

    Args:
        runs_dir: where the results are.
        shown: when the snapshot on the page was published; None if there is none.
        experiments: view `run_summary` of the sweep on the page, None where there is none.
    """
    if published_at(runs_dir) != shown:
        st.rerun()
    if experiments is not None:
        _progress(experiments)
    if shown is not None:
        at = datetime.fromtimestamp(shown).astimezone()
        st.caption(f"Data of {at:%Y-%m-%d %H:%M:%S}, {age(time.time() - shown)} old")
    st.caption(f"`{runs_dir}`")


@st.fragment(run_every=POLL_S)
def show_running(experiments: pd.DataFrame) -> None:
    """A bar for each running run, with its last sign of life and about how long it will yet take.

    Args:
        experiments: view `run_summary`; draws nothing where none of its runs is running.
    """
    running = records(experiments[experiments["state"] == "running"])
    for row in running[:_MOST_BARS]:
        planned = 0 if pd.isna(row["max_steps"]) else row["max_steps"]
        share = min(1.0, row["steps_done"] / planned) if planned else 0.0
        st.progress(share, text=f"{_where(row)}, {'; '.join(_signs(row))}")
    if len(running) > _MOST_BARS:
        st.caption(f"{len(running) - _MOST_BARS:,} more are running.")


def _progress(experiments: pd.DataFrame) -> None:
    """Runs and steps done, and each running run's step and last sign of life."""
    feasible = experiments[experiments["state"] != "infeasible"]
    if feasible.empty:
        st.caption("No run of this sweep can run.")
        return
    finished = int((feasible["state"] == "succeeded").sum())
    planned = feasible["max_steps"].sum()
    if finished == len(feasible):
        st.caption(f"All {finished} runs have finished.")
        return
    share = min(1.0, float(feasible["steps_done"].sum() / planned)) if planned else 0.0
    st.progress(share, text=f"{finished} of {len(feasible)} runs finished, {share:.0%} of the steps")
    for row in records(feasible[feasible["state"] == "running"])[:_MOST_BARS]:
        silent_s = time.time() - row["heartbeat_unix"]
        if silent_s > SILENT_AFTER_S:
            st.warning(f"{_where(row)}; no sign of life for {age(silent_s)}, see `sweepctl status`")
        else:
            st.caption(f"{_where(row)}, seen {age(silent_s)} ago")


def _where(row: dict[str, Any]) -> str:
    return f"{escaped(row['label'])} running, step {row['steps_done']} of {row['max_steps']}"


def _signs(row: dict[str, Any]) -> Iterator[str]:
    """When a run was last seen, and while it is alive how long its other steps take at its mean step time."""
    silent_s = time.time() - row["heartbeat_unix"]
    if silent_s > SILENT_AFTER_S:
        yield f"no sign of life for {age(silent_s)}, see `sweepctl status`"
        return
    yield f"seen {age(silent_s)} ago"
    left_s = (row["max_steps"] - row["steps_done"]) * row["step_mean_s"]
    if pd.notna(left_s):
        yield f"about {age(left_s)} of steps to go at its mean step time"


def age(seconds: float) -> str:
    """A duration in its largest fitting unit: `12 s`, `5 min`, `3 h`, `2 days`."""
    for limit, divisor, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{max(0.0, seconds) / divisor:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"
