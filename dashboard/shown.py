"""Puts figures, tables and text on a page, each with downloads of the very thing that is shown."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig, ColumnWidth

from dashboard.data import View
from results.figures.standalone import standalone_html

MOST_RUNS = 12
"""So many runs are told apart in one figure."""
_PLOTLY = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}
_SCROLLED = """<style>
[class*="st-key-figure-"] { overflow-x: auto; }
[class*="st-key-figure-"] > [data-testid="stFullScreenFrame"] { min-width: 620px; }
</style>"""
_ROW_PX, _MOST_ROWS = 35, 24
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|~$:]|(?:^|(?<=^ ))[-+]")
"""Also a dash or a plus that would begin a list."""
_NUMBERED = re.compile(r"^( ?\d+)([.)])")
_WHOLE_WORDS = re.compile(
    r"""
    (?::(?=(?:material/)?[\w+-]+:)     # an icon, an emoji
    |https?:(?=//)|www(?=\.)           # a link
    |(?<!\S)<?-(?=[->](?!\S))          # -> <-> --, which become arrows and a dash
    |(?<!\S)[<>~](?=[=-](?!\S)))       # <- <= >= ~=
    |(?=@[\w-]+\.\w)                   # a mail address
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Where Streamlit looks at the text behind the backslashes."""
_JOINER = "\u2060"
_CODE = re.compile(r"`([\w.]+)`")
"""How sentences of the report name a key."""
_NONE = "–"
Columns = Mapping[str, str | ColumnConfig]
Written = Mapping[str, Callable[[Any], str]]


def let_figures_scroll() -> None:
    """Figures keep the width that the words beside them need; a narrower window scrolls them, like tables."""
    st.html(_SCROLLED)


def show_figure(
    view: View, name: str, figure: go.Figure, frame: pd.DataFrame, caption: str, *, title: str = ""
) -> None:
    """A figure, what it says in words, its numbers as CSV, and itself as a page that needs no network.

    Args:
        view: what the page shows.
        name: of the figure; unique on its page, also names the files.
        figure: to show.
        frame: the numbers it was made from.
        caption: the text alternative, also for who cannot see the figure; plain text.
        title: heading of the saved page, where the name is not enough.
    """
    st.plotly_chart(figure, width="stretch", key=f"figure-{name}", config=_PLOTLY, alt=caption)
    st.caption(escaped(caption))
    heading = f"{view.sweep}: {title or name.replace('-', ' ')}"
    with st.container(horizontal=True):
        download(view, name, frame)
        st.download_button(
            "HTML",
            partial(standalone_html, figure, heading, caption),
            file_name=f"{view.sweep}-{name}.html",
            mime="text/html",
            key=f"html-{name}",
            on_click="ignore",
            type="tertiary",
            icon=":material/download:",
            help="The figure as one file that needs no network",
        )


def show_table(
    view: View,
    name: str,
    frame: pd.DataFrame,
    columns: Columns,
    caption: str = "",
    *,
    written: Written | None = None,
) -> None:
    """The columns named in `columns` as a table with all its rows, and the same as CSV.

    Args:
        view: what the page shows.
        name: of the table; unique on its page, also names the file.
        frame: its rows.
        columns: to show, in order; the first says what a row is, and stays in sight where others scroll.
        caption: plain text.
        written: by column how its numbers are written, where no printf format does; they are sorted as
            numbers all the same. Their columns must have no format.
    """
    shown = frame[list(columns)]
    ways: dict[Any, Any] = {
        column: way for column, way in {**_WRITTEN, **(written or {})}.items() if column in columns
    }
    st.dataframe(
        shown.style.format(ways, na_rep=_NONE) if ways else shown,
        width="stretch",
        height=_ROW_PX * (min(len(shown), _MOST_ROWS) + 1) + 3,
        hide_index=True,
        placeholder=_NONE,
        column_config=first_pinned(columns),
        key=f"table-{name}",
        alt=caption or name,
    )
    if caption:
        st.caption(escaped(caption))
    download(view, name, shown)


def first_pinned(columns: Columns) -> dict[str, str | ColumnConfig]:
    """The columns, of which the first stays in sight where a narrow window scrolls the others."""
    name, head = next(iter(columns.items()))
    config = ColumnConfig(label=head) if isinstance(head, str) else head
    return {**columns, name: config | {"pinned": True}}


def interval(low: "pd.Series[float]", high: "pd.Series[float]", form: str) -> "pd.Series[Any]":
    """`1.40–1.50`, with signs `-0.20 to +1.30`, an interval a row; None where there is none.

    Args:
        low: lower ends.
        high: upper ends.
        form: of a number, Python's.
    """
    between = " to " if form.startswith("+") else "–"
    words = [
        None if pd.isna(start) or pd.isna(end) else f"{start:{form}}{between}{end:{form}}"
        for start, end in zip(low, high, strict=True)
    ]
    return pd.Series(words, index=low.index, dtype=object)


def download(view: View, name: str, frame: pd.DataFrame) -> None:
    """A button that saves a frame as CSV, made when it is pressed."""
    st.download_button(
        "CSV",
        lambda: frame.to_csv(index=False),
        file_name=f"{view.sweep}-{name}.csv",
        mime="text/csv",
        key=f"csv-{name}",
        on_click="ignore",  # saving a file is no reason to compute the page again
        type="tertiary",
        icon=":material/download:",
        help=f"{name.replace('-', ' ').capitalize()}: the numbers shown above",
    )


def first_runs(view: View, most: int = MOST_RUNS) -> tuple[str, ...]:
    """The runs that one figure draws: the first that the filter leaves. Says so where these are not all."""
    possible = view.experiments["state"] != "infeasible"
    runs = tuple(view.experiments.loc[possible, "run_name"])
    if len(runs) > most:
        st.info(
            f"The first {most} of {len(runs):,} runs are drawn; the filter in the sidebar chooses others.",
            icon=":material/filter_alt:",
        )
    return runs[:most]


def first_labels(labels: "pd.Series[str]") -> str:
    """Names with commas between them, of many the first ones."""
    more = f" and {len(labels) - MOST_RUNS:,} more" if len(labels) > MOST_RUNS else ""
    return ", ".join(labels.head(MOST_RUNS)) + more


def escaped(text: str) -> str:
    """Text in which Markdown sees nothing, on one line: names and sentences are the user's.

    What Streamlit replaces where no backslash helps has a word joiner in it, which takes no room.
    """
    line = _WHOLE_WORDS.sub(rf"\g<0>{_JOINER}", re.sub(r"\s+", " ", text))
    return _NUMBERED.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\g<0>", line.replace("&", "&amp;")))


def show_sentences(sentences: Iterable[str]) -> None:
    """A list, a sentence each; keys between backticks as code."""
    st.markdown("\n".join(f"- {_with_code(sentence)}" for sentence in sentences))


def _with_code(sentence: str) -> str:
    parts = _CODE.split(sentence)  # text and keys in turn
    return "".join(f"`{part}`" if place % 2 else escaped(part) for place, part in enumerate(parts))


def number(label: str, form: str, help_text: str | None = None) -> ColumnConfig:
    """A column of numbers in a printf format."""
    return st.column_config.NumberColumn(label, format=form, help=help_text)


def adjusted_p() -> ColumnConfig:
    """The column `p_adjusted`, of p-values that Holm has adjusted."""
    return st.column_config.NumberColumn("p adjusted", help="by Holm; the CSV has all digits")


def p_cell(p: float) -> str:
    """A p-value with four decimals; one that has none of them is below a bound, never 0."""
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"


_WRITTEN: Written = {"p_adjusted": p_cell}
"""How numbers of these columns are written on every page."""


def hidden() -> ColumnConfig:
    """A column that only the CSV has."""
    return ColumnConfig(hidden=True)


def text(label: str, help_text: str | None = None, width: ColumnWidth | None = None) -> ColumnConfig:
    """A column of text."""
    return st.column_config.TextColumn(label, help=help_text, width=width)
