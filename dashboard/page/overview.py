"""Overview: which sweeps there are, how far they have come, and what the chosen one shows."""

from functools import partial

import pandas as pd
import streamlit as st

from dashboard.data import View, sweeps
from dashboard.live import show_running
from dashboard.page.speed.speedups import show_bars, speeds
from dashboard.selection import SWEEP_KEY
from dashboard.shown import MOST_RUNS, escaped, show_sentences, text
from results.figures.speed import UNITS
from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.report.headline import headline
from results.report.notices import infeasible_notices
from results.report.settings import settings_table

_ROW_PX, _MOST_ROWS = 35, 6
_MOST_KNOBS = 6
"""Columns that a table has room for."""


def show(view: View) -> None:
    """Draws the page."""
    st.title("Overview")
    _sweeps(view)
    show_running(view.experiments)
    st.subheader("Verdict")
    _verdict(view)
    _notices(view.report)
    _settings(view)
    _bars(view)
    _observations(view.report)


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


def _verdict(view: View) -> None:
    """The three lines, and whom they are of where the filter leaves out some runs."""
    lines = headline(view.report)
    left, runs = len(view.runs), len(view.report.experiments)
    if left < runs:
        st.markdown(f"**Of the whole sweep; the filter leaves {left:,} of {runs:,} runs.**")
    parts = {"Fastest": lines.fastest, "Speed-up": lines.speedup, "Accuracy": lines.accuracy}
    st.markdown("\n".join(f"- **{name}**: {escaped(line)}" for name, line in parts.items()))


def _notices(report: Report) -> None:
    """What is doubtful as a warning; that some points of the plan cannot run is none."""
    impossible = infeasible_notices(report.experiments)
    for show_block, part in (
        (st.warning, [notice for notice in report.notices if notice not in impossible]),
        (st.info, impossible),
    ):
        if part:
            show_block("\n".join(f"- {escaped(notice)}" for notice in part))


def _settings(view: View) -> None:
    """Which knobs stand behind the name of a setting, of those that differ."""
    knobs = [knob for knob in view.report.varying if knob != "seed"]
    table = settings_table(view.experiments, view.report.configurations, knobs)
    if not knobs or table.empty:
        return
    shown = knobs[:_MOST_KNOBS]
    st.subheader("Settings")
    st.dataframe(
        table[["label", *shown]],
        width="stretch",
        height=_ROW_PX * (min(len(table), _MOST_ROWS) + 1) + 3,
        hide_index=True,
        column_config={"label": text("Setting"), **{knob: text(knob) for knob in shown}},
        placeholder="–",
        key="settings",
        alt="The knobs in which the settings differ, one setting a row",
    )
    if more := len(knobs) - len(shown):
        st.caption(f"{more} more knobs vary; Runs has all of them.")


def _bars(view: View) -> None:
    """Speed-ups against the matched baseline, or the reference run where no run has a baseline."""
    for against in ("baseline", "reference"):
        rows = speeds(view, view.report, against)
        if rows["prompts_per_s_speedup"].notna().any():
            st.subheader(f"Against the {OPPONENTS[against]}")
            show_bars(view, f"speedups-{against}", rows, UNITS["prompts/s"], MOST_RUNS)
            return


def _observations(report: Report) -> None:
    """Every sentence of the report, folded: the verdict is what most come for."""
    if not report.observations:
        st.info("Nothing is shown yet: no run has been compared with another.")
        return
    with st.expander(f"All that the numbers of the whole sweep show ({len(report.observations)})"):
        show_sentences(report.observations)


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
