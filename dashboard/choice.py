"""Choices that the address keeps: one of a few, rows of a table by name, and numbers."""

import math
from collections.abc import Sequence
from typing import Literal

import pandas as pd
import streamlit as st

from dashboard.shown import Columns, Written, first_pinned

_ROW_PX = 35


def choose_one(label: str, options: Sequence[str], key: str, help_text: str | None = None) -> str:
    """Draws a few options beside each other; the one chosen, by default the first.

    Args:
        label: what is chosen.
        options: at least one, as they stand in the address.
        key: of the widget, and the address's parameter.
        help_text: what they mean.
    """
    return str(
        st.segmented_control(
            label,
            options,
            default=options[0],
            required=True,
            key=key,
            bind="query-params",
            help=help_text,
        )
    )


def choose_rows(
    parameter: str,
    frame: pd.DataFrame,
    names: Sequence[str],
    columns: Columns,
    *,
    mode: Literal["single-row-required", "multi-row"],
    most_rows: int,
    alt: str,
    written: Written | None = None,
) -> list[str]:
    """Draws the columns named in `columns`; the names of the rows chosen, in the table's order.

    Sorting and new results leave the choice as it is; it is a row's name that is chosen, so one that moves
    when rows come or go stays chosen.

    Args:
        parameter: of the address, which holds the choice.
        frame: one row per name.
        names: of the rows, all different.
        columns: to show, in order.
        mode: exactly one row, by default the first, or as many as the user clicks.
        most_rows: seen at once; the others are scrolled to.
        alt: the table in words.
        written: by column how its numbers are written, where no printf format does; they are sorted as
            numbers all the same. Their columns must have no format.
    """
    places = {name: place for place, name in enumerate(names)}
    asked = [places[name] for name in st.query_params.get_all(parameter) if name in places]
    if mode == "single-row-required":
        asked = asked[:1] or [0]
    shown = frame[list(columns)]
    # Rows are chosen by their place: with other rows it is another table, which begins with the same names.
    event = st.dataframe(
        shown.style.format(dict(written), na_rep="–") if written else shown,
        width="stretch",
        height=_ROW_PX * (min(len(frame), most_rows) + 1) + 3,
        hide_index=True,
        placeholder="–",
        column_config=first_pinned(columns),
        key=f"{parameter}-{hash(tuple(names))}",
        on_select="rerun",
        selection_mode=mode,
        selection_default={"selection": {"rows": sorted(asked)}},
        alt=alt,
    )
    chosen = [names[row] for row in sorted(event["selection"]["rows"]) if row < len(names)]
    if chosen:
        st.query_params[parameter] = chosen
    else:
        st.query_params.pop(parameter, None)
    return chosen


def number_binding(parameter: str) -> Literal["query-params"]:
    """How a number input keeps its value in the address, out of which one that is infinite is taken first.

    Streamlit drops what is no number or outside the bounds, but fails to make an integer of `1e400`.
    """
    if not all(map(_may_be_finite, st.query_params.get_all(parameter))):
        st.query_params.pop(parameter)
        st.rerun()  # Streamlit goes by what the address said when the run began
    return "query-params"


def _may_be_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return True  # no number: the input's own affair
