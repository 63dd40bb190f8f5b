"""The dashboard: `streamlit run dashboard/app.py`.

    sidebar: sweep, model and profile, progress, age of the data
    page:    one of the modules `page_*`, each a function of a `View`

A link holds page and sweep: `/quality?sweep=staleness`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import streamlit as st

from dashboard import explain, page_overview, page_quality, page_steps
from dashboard.data import View, published_at, runs_dir_from_environment, sweep_names
from dashboard.live import follow
from results.report.build import Report
from results.store import StoreError

SWEEP_KEY = "sweep"


def main() -> None:
    """Draws the page that the address asks for."""
    st.set_page_config(page_title="sweepctl", layout="wide")
    runs_dir = runs_dir_from_environment()
    mtime = published_at(runs_dir)
    try:
        view = _select(runs_dir, mtime)
        report = view.report if view else None
        explanation = partial(explain.empty_store if mtime else explain.no_store, runs_dir)
    except StoreError as error:
        view, report = None, None
        explanation = partial(explain.broken_store, runs_dir, error)
    page = st.navigation([_page(content, title, path, view, explanation) for content, title, path in _PAGES])
    with st.sidebar:
        if report:
            st.markdown(f":material/deployed_code: **{subject(report)}**")
        follow(runs_dir, mtime, report.experiments if report else None)
    if report:
        st.caption(f"{report.sweep} · **{subject(report)}**")
    try:
        page.run()
    except StoreError as error:  # the snapshot went away or broke since the sidebar was drawn
        explain.broken_store(runs_dir, error)


def subject(report: Report) -> str:
    """What was trained, and under which profile: `built-in model (builtin:tiny), profile cpu`."""
    models = [
        f"built-in model ({model})" if model.startswith("builtin:") else model for model in report.models
    ]
    profile = f"profile {report.profile}" if report.profile else "no profile"
    return f"{', '.join(models) or 'no model yet'}, {profile}"


def _select(runs_dir: Path, mtime: float | None) -> View | None:
    """The sweep that the sidebar or the address names, by default the most recent; None: there is none.

    Raises:
        StoreError: the store cannot be read.
    """
    names = sweep_names(runs_dir, mtime) if mtime is not None else []
    if mtime is None or not names:
        return None
    asked = st.query_params.get(SWEEP_KEY)
    if st.session_state.get(SWEEP_KEY) not in names:
        st.session_state[SWEEP_KEY] = asked if asked in names else names[0]
        if asked is not None and asked not in names:
            st.sidebar.warning(f"There is no sweep `{asked}`: this is the most recent.")
    sweep = st.sidebar.selectbox("Sweep", names, key=SWEEP_KEY, persist_state="session")
    # Also for the most recent, so that a link still means this sweep when there is a newer one.
    st.query_params[SWEEP_KEY] = sweep
    return View(runs_dir, mtime, sweep)


def _page(
    content: Callable[[View], None], title: str, path: str, view: View | None, explanation: Callable[[], None]
) -> st.Page:
    draw = partial(content, view) if view else explanation
    return st.Page(draw, title=title, url_path=path, default=not path)


# The page without a path is the one that the bare address opens.
_PAGES: tuple[tuple[Callable[[View], None], str, str], ...] = (
    (page_overview.show, "Overview", ""),
    (page_steps.show, "Step times", "step-times"),
    (page_quality.show, "Quality", "quality"),
)

if __name__ == "__main__":
    main()
