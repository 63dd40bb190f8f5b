"""Overview: which sweeps there are, how far they have come, and what the chosen one shows."""

from functools import partial

import pandas as pd
import streamlit as st

from dashboard.data import View, sweeps
from dashboard.live import show_running
from dashboard.page.speed.speedups import show_bars, speeds
from dashboard.selection import SWEEP_KEY
from dashboard.shown import MOST_RUNS, escaped, show_sentences
from results.figures.speed import UNITS
from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.report.headline import headline

_ROW_PX, _MOST_ROWS = 35, 6


def show(view: View) -> None:
    """Draws the page."""
    st.title("Overview")
    _sweeps(view)
    show_running(view.experiments)
    report = view.report
    st.subheader("Verdict")
    if len(view.runs) < len(report.experiments):
        st.caption("The verdict and the sentences below are of the whole sweep, whatever the filter leaves.")
    _verdict(report)
    if report.notices:
        st.warning("\n".join(f"- {escaped(notice)}" for notice in report.notices))
    _bars(view)
    st.subheader("What this shows")
    if report.observations:
        show_sentences(report.observations)
    else:
        st.info("Nothing yet: no run has been compared with another.")


def _sweeps(view: View) -> None:
    """All sweeps of the store; a row that is chosen is the sweep of all pages."""
    table = sweeps(view.runs_dir, view.mtime)
    names = [str(name) for name in table["sweep"]]
    st.dataframe(
        table.assign(
            created=pd.to_datetime(table["created_unix"], unit="s", utc=True),
            finished=[
                f"{done:,} of {runs:,}" for done, runs in zip(table["succeeded"], table["runs"], strict=True)
            ],
        )[list(_COLUMNS)],
        width="stretch",
        height=_ROW_PX * (min(len(table), _MOST_ROWS) + 1) + 3,
        hide_index=True,
        column_config=dict(_COLUMNS),
        placeholder="–",
        # Another sweep, or one more, is another table: its selection begins at the sweep that is shown.
        key=f"sweeps-{len(names)}-{view.sweep}",
        on_select=partial(_open, f"sweeps-{len(names)}-{view.sweep}", names),
        selection_mode="single-row-required",
        selection_default={"selection": {"rows": [names.index(view.sweep)]}},
        alt="All sweeps with the state of their runs; choose a row to see that sweep",
    )


def _open(key: str, names: list[str]) -> None:
    """Makes the sweep of the chosen row that of all pages."""
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        st.session_state[SWEEP_KEY] = names[rows[0]]


def _verdict(report: Report) -> None:
    """The three lines."""
    lines = headline(report)
    parts = {"Fastest": lines.fastest, "Speed-up": lines.speedup, "Accuracy": lines.accuracy}
    st.markdown("\n".join(f"- **{name}**: {escaped(line)}" for name, line in parts.items()))


def _bars(view: View) -> None:
    """Speed-ups against the matched baseline, or the reference run where no run has a baseline."""
    for against in ("baseline", "reference"):
        rows = speeds(view, view.report, against)
        if rows["prompts_per_s_speedup"].notna().any():
            st.subheader(f"Against the {OPPONENTS[against]}")
            show_bars(view, f"speedups-{against}", rows, UNITS["prompts/s"], MOST_RUNS)
            return


_COLUMNS = {
    "sweep": st.column_config.TextColumn("Sweep", help="Choose a row to see that sweep"),
    "state": st.column_config.TextColumn("State"),
    "finished": st.column_config.TextColumn("Runs finished"),
    "progress": st.column_config.ProgressColumn(
        "Steps", format="percent", min_value=0, max_value=1, help="share of all planned steps"
    ),
    "created": st.column_config.DatetimeColumn("Planned", format="YYYY-MM-DD HH:mm"),
    "profile": st.column_config.TextColumn("Profile"),
}
