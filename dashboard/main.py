"""What a browser is shown: the sidebar, and beside it one of the pages.

    sidebar: sweep, filter, model and profile, progress, age of the data
    page:    one of `dashboard.page`, each a function of a `View`

A link holds page, sweep, filter and the page's own choices: `/quality?sweep=staleness&run=s1_lr1e-05`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import streamlit as st

from dashboard import asked, explain
from dashboard.data import (
    SnapshotReplacedError,
    View,
    load_report,
    published_at,
    runs_dir_from_environment,
    sweep_names,
)
from dashboard.live import follow
from dashboard.page import overview, rollouts, staleness, step_times, timeline
from dashboard.page.plan import page as plan
from dashboard.page.quality import page as quality
from dashboard.page.runs import page as runs
from dashboard.page.speed import page as speed
from dashboard.selection import SWEEP_KEY, chosen_runs
from dashboard.shown import escaped, let_figures_scroll
from results.report.build import Report
from results.store import StoreError

_INTERRUPTED_KEY = "interrupted"
_MOST_INTERRUPTIONS = 4
"""By new snapshots, one after the other: on a machine that is so busy nobody waits for the page."""


def main() -> None:
    """Draws the page that the address asks for, all of it of one snapshot."""
    st.set_page_config(page_title="sweepctl", layout="wide")
    let_figures_scroll()
    asked.remember()
    try:
        _draw()
        st.session_state[_INTERRUPTED_KEY] = 0
    except SnapshotReplacedError:
        st.session_state[_INTERRUPTED_KEY] = st.session_state.get(_INTERRUPTED_KEY, 0) + 1
        if st.session_state[_INTERRUPTED_KEY] < _MOST_INTERRUPTIONS:
            st.rerun()
        st.info("New results arrive faster than this page can be drawn; reload it to try again.")


def _draw() -> None:
    runs_dir = runs_dir_from_environment()
    mtime = published_at(runs_dir)
    try:
        sweep = _select(runs_dir, mtime)
        view = _open(runs_dir, mtime, sweep) if mtime is not None and sweep else None
        report = view.report if view else None
        explanation = partial(explain.empty_store if mtime else explain.no_store, runs_dir)
    except StoreError as error:
        view, report = None, None
        explanation = partial(explain.broken_store, runs_dir, error)
    page = st.navigation([_page(content, title, path, view, explanation) for content, title, path in _PAGES])
    with st.sidebar:
        if report:
            st.markdown(f":material/deployed_code: **{escaped(subject(report))}**")
        follow(runs_dir, mtime, report.experiments if report else None)
    ignored = st.container()
    if report:
        st.caption(f"{escaped(report.sweep)} · **{escaped(subject(report))}**")
    try:
        page.run()
    except StoreError as error:  # the snapshot went away or broke since the sidebar was drawn
        explain.broken_store(runs_dir, error)
    asked.say_ignored(ignored)


def subject(report: Report) -> str:
    """What was trained, and under which profile: `built-in model (builtin:tiny), profile cpu`."""
    models = [
        f"built-in model ({model})" if model.startswith("builtin:") else model for model in report.models
    ]
    profile = f"profile {report.profile}" if report.profile else "no profile"
    return f"{', '.join(models) or 'no model yet'}, {profile}"


def _open(runs_dir: Path, mtime: float, sweep: str) -> View:
    """What the pages show of a sweep."""
    with st.spinner("Computing intervals and tests …"):
        report = load_report(runs_dir, mtime, sweep)
    with st.sidebar:
        return View(runs_dir, mtime, sweep, chosen_runs(report))


def _select(runs_dir: Path, mtime: float | None) -> str | None:
    """The sweep that the sidebar or the address names, by default the most recent; None: there is none.

    Raises:
        StoreError: the store cannot be read.
    """
    names = sweep_names(runs_dir, mtime) if mtime is not None else []
    if mtime is None or not names:
        return None
    named = st.query_params.get(SWEEP_KEY)
    if st.session_state.get(SWEEP_KEY) not in names:
        st.session_state[SWEEP_KEY] = named if named in names else names[0]
    sweep = st.sidebar.selectbox("Sweep", names, key=SWEEP_KEY, persist_state="session")
    # Also for the most recent, so that a link still means this sweep when there is a newer one.
    st.query_params[SWEEP_KEY] = sweep
    return sweep


def _page(
    content: Callable[[View], None], title: str, path: str, view: View | None, explanation: Callable[[], None]
) -> st.Page:
    draw = partial(content, view) if view else explanation
    return st.Page(draw, title=title, url_path=path, default=not path)


# The page without a path is the one that the bare address opens.
_PAGES: tuple[tuple[Callable[[View], None], str, str], ...] = (
    (overview.show, "Overview", ""),
    (speed.show, "Speed", "speed"),
    (step_times.show, "Step times", "step-times"),
    (timeline.show, "Timeline", "timeline"),
    (quality.show, "Quality", "quality"),
    (staleness.show, "Staleness", "staleness"),
    (plan.show, "Plan", "plan"),
    (runs.show, "Runs", "runs"),
    (rollouts.show, "Rollouts", "rollouts"),
)
