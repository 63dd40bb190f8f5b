"""Tables: what a row is stays in sight, and numbers of a column have as many decimals."""

import numpy as np
import pandas as pd
import pytest

from dashboard.page.plan.costs import written_cost
from dashboard.shown import first_labels, first_pinned, interval, number, p_cell


def test_the_first_column_stays_in_sight_and_the_others_scroll():
    columns = {"label": number("Run", "%d", "which"), "ratio": number("Ratio", "%.2f")}
    pinned = first_pinned(columns)
    assert pinned["label"] == columns["label"] | {"pinned": True}
    assert pinned["ratio"] == columns["ratio"]
    assert first_pinned({"label": "Run"})["label"] == {"label": "Run", "pinned": True}


@pytest.mark.parametrize(("form", "words"), [(".2f", "1.40–1.50"), ("+.1f", "+1.4 to +1.5")])
def test_an_interval_is_one_cell_and_none_is_empty(form, words):
    low, high = pd.Series([1.4, np.nan, 1.0]), pd.Series([1.5, 2.0, np.nan])
    assert interval(low, high, form).to_list() == [words, None, None]


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.114, "0.1140"), (15.87, "15.87"), (3.9, "3.900"), (0.0, "0"), (868.0, "868"), (12345.6, "12,346")],
)
def test_costs_keep_their_last_zeros(value, words):
    assert written_cost(value) == words


@pytest.mark.parametrize(
    ("p", "words"), [(0.0, "<0.0001"), (9.9e-5, "<0.0001"), (1e-4, "0.0001"), (1.0, "1.0000")]
)
def test_no_p_value_is_written_as_nothing(p, words):
    assert p_cell(p) == words


def test_of_many_names_the_first_are_told():
    labels = pd.Series([f"Exp{place}" for place in range(14)])
    assert first_labels(labels[:2]) == "Exp0, Exp1"
    assert first_labels(labels).endswith("Exp10, Exp11 and 2 more")
