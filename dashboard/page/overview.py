"""Overview: which sweeps there are, how far they have come, and what the chosen one shows."""

from functools import partial

import pandas as pd
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from dashboard.data import View, sweeps
from dashboard.live import show_running
from dashboard.next_step import next_step
from dashboard.page.speed.speedups import speeds
from dashboard.selection import SWEEP_KEY
from dashboard.shown import (
    Columns,
    download,
    escaped,
    first_pinned,
    interval,
    number,
    show_sentences,
    text,
)
from results.files.comparisons import OPPONENTS
from results.report.build import Report
from results.report.cells import NONE
from results.report.headline import headline
from results.report.knobs import short_name
from results.report.notices import infeasible_notices
from results.report.settings import settings_table
from results.tables.arms import arms_table

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
        column_config=first_pinned(_COLUMNS),
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
    said = [f"- **{name}**: {escaped(line)}" for name, line in parts.items()]
    if following := next_step(view.report):
        said.append(f"- **Next**: {following}")
    st.markdown("\n".join(said))


def _notices(report: Report) -> None:
    """What is doubtful as a warning; that some points of the plan cannot run is none."""
    impossible = infeasible_notices(report.experiments)
    for show_block, part in (
        (st.warning, [notice for notice in report.notices if notice not in impossible]),
        (st.info, impossible),
    ):
        if part:
            show_block("\n".join(f"- {escaped(notice.replace('`', ''))}" for notice in part))


def _settings(view: View) -> None:
    """Which knobs stand behind the names of settings, and how much faster each was.

    Not as a figure: what draws figures takes the browser longer than everything else on this page.
    """
    report = view.report
    knobs = [knob for knob in report.varying if knob != "seed"]
    against, rows = _compared(view)
    table = settings_table(view.experiments, report.configurations, knobs, rows)
    if table.empty:
        return
    columns: dict[str, str | ColumnConfig] = {"label": text("Setting")}
    caption = "No two of them can be compared yet."
    if against:
        table = table.assign(interval=interval(table["low"], table["high"], ".2f"))
        columns |= _speed_columns(against, float(table["ratio"].max()))
        caption = (
            "Speed-up: prompts trained a second, as a multiple of the other's, with its 95 % interval where "
            "there is one. Speed draws it, and says what each interval is of."
        )
    if (more := len(knobs) - _MOST_KNOBS) > 0:
        caption += f" {more} more knobs vary; Runs has them all."
    arms = arms_table(view.experiments).drop_duplicates("label").set_index("label")
    table = table.assign(prompts_per_s=table["label"].map(arms["prompts_per_s"]))
    if table["prompts_per_s"].notna().any():
        columns["prompts_per_s"] = number("Prompts/s", "%.3f", "trained a second, mean over finished seeds")
    columns |= {knob: text(short_name(knob), f"`{knob}`") for knob in knobs[:_MOST_KNOBS]}
    st.subheader("Settings")
    st.dataframe(
        table[list(columns)],
        width="stretch",
        height=_ROW_PX * (min(len(table), _MOST_ROWS) + 1) + 3,
        hide_index=True,
        column_config=first_pinned(columns),
        placeholder=NONE,
        key="settings",
        alt="The knobs in which the settings differ and how much faster each is, one setting a row",
    )
    st.caption(escaped(caption))
    download(view, "settings", table)


def _compared(view: View) -> tuple[str | None, pd.DataFrame]:
    """Speed-ups to the matched baseline, or to the reference run where no run has a baseline."""
    for against in ("baseline", "reference"):
        rows = speeds(view, view.report, against)
        if rows["prompts_per_s_speedup"].notna().any():
            return against, rows
    return None, rows


def _speed_columns(against: str, most: float) -> Columns:
    return {
        "ratio": st.column_config.ProgressColumn("Speed-up", format="%.2f×", min_value=0, max_value=most),
        "interval": text("95 %"),
        "other_label": text("Against", f"its {OPPONENTS[against]}"),
    }


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
