"""Puts a figure or a table on a page, with a download of the very numbers that are shown."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig, ColumnWidth

from dashboard.data import View

_PLOTLY = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}
_ROW_PX, _MOST_ROWS = 35, 24
Columns = Mapping[str, str | ColumnConfig]


def show_figure(view: View, name: str, figure: go.Figure, frame: pd.DataFrame, caption: str) -> None:
    """A figure, what it says in words, and its numbers as CSV.

    Args:
        view: what the page shows.
        name: of the figure; unique, also names the file.
        figure: to show.
        frame: the numbers it was made from.
        caption: the text alternative, also for who cannot see the figure.
    """
    st.plotly_chart(figure, width="stretch", key=f"figure-{name}", config=_PLOTLY, alt=caption)
    st.caption(caption)
    download(view, name, frame)


def show_table(view: View, name: str, frame: pd.DataFrame, columns: Columns, caption: str = "") -> None:
    """The columns named in `columns` as a table with all its rows, and the same as CSV."""
    shown = frame[list(columns)]
    st.dataframe(
        shown,
        width="stretch",
        height=_ROW_PX * (min(len(shown), _MOST_ROWS) + 1) + 3,
        hide_index=True,
        placeholder="–",
        column_config=dict(columns),
        key=f"table-{name}",
        alt=caption or name,
    )
    if caption:
        st.caption(caption)
    download(view, name, shown)


def download(view: View, name: str, frame: pd.DataFrame) -> None:
    """A button that saves a frame as CSV."""
    st.download_button(
        "CSV",
        frame.to_csv(index=False),
        file_name=f"{view.sweep}-{name}.csv",
        mime="text/csv",
        key=f"csv-{name}",
        on_click="ignore",  # saving a file is no reason to compute the page again
        type="tertiary",
        icon=":material/download:",
        help=f"{name.replace('-', ' ').capitalize()}: the numbers shown above",
    )


def number(label: str, form: str, help_text: str | None = None) -> ColumnConfig:
    """A column of numbers in a printf format."""
    return st.column_config.NumberColumn(label, format=form, help=help_text)


def text(label: str, help_text: str | None = None, width: ColumnWidth | None = None) -> ColumnConfig:
    """A column of text."""
    return st.column_config.TextColumn(label, help=help_text, width=width)
