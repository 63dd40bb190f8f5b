"""The map over two knobs: cells computed again by hand, axes in order."""

import math
import statistics

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.figures.heat import knob_heat_map
from results.report.knob_grid import knob_grid

KNOBS = {
    "a": {"lr": 1e-4, "batch": 16},
    "b": {"lr": 1e-5, "batch": 8},
    "c": {"lr": 1e-4, "batch": 128},
    "d": {"lr": 1e-4, "batch": 16},
    "e": {"lr": 1e-4},
}


def grid_of(values, summary="median"):
    return knob_grid(pd.Series(values, dtype=float), KNOBS, "batch", "lr", summary)


def test_axes_are_in_the_order_of_numbers_and_not_of_their_text():
    grid = grid_of({"a": 1.0, "b": 2.0, "c": 3.0})
    assert list(grid.sort_values("x_place")["x"].unique()) == ["8", "16", "128"]
    assert list(grid.sort_values("y_place")["y"].unique()) == ["1e-05", "0.0001"]


def test_words_stay_in_the_order_of_the_plan():
    runs = {"a": {"loss": "grpo", "lr": 1}, "b": {"loss": "dapo", "lr": 1}, "c": {"loss": "grpo", "lr": None}}
    grid = knob_grid(pd.Series({"a": 1.0, "b": 2.0, "c": 3.0}), runs, "loss", "lr", "mean")
    assert list(grid.sort_values("x_place")["x"].unique()) == ["grpo", "dapo"]
    assert set(grid["y"]) == {"1", "null"}


@given(
    values=st.lists(st.floats(0.01, 100), min_size=2, max_size=2),
    summary=st.sampled_from(["median", "mean", "geometric mean"]),
)
def test_a_cell_sums_up_its_runs(values, summary):
    grid = grid_of({"a": values[0], "d": values[1], "b": 5.0}, summary)
    by_hand = {
        "median": statistics.median(values),
        "mean": statistics.mean(values),
        "geometric mean": math.sqrt(values[0] * values[1]),
    }
    cell = grid[(grid["x"] == "16") & (grid["y"] == "0.0001")].iloc[0]
    assert cell["value"] == pytest.approx(by_hand[summary])
    assert cell["runs"] == 2
    assert grid["runs"].sum() == 3


def test_runs_without_a_number_or_a_knob_are_in_no_cell():
    assert list(grid_of({"a": 1.0, "b": math.nan, "e": 4.0})["runs"]) == [1]
    assert grid_of({"b": math.nan}).empty


def test_the_map_has_every_cell_at_its_place_and_the_others_empty():
    grid = grid_of({"a": 0.45, "b": 2.0, "c": 3.0, "d": 0.45})
    drawn = knob_heat_map(grid, "batch", "lr", "prompts/s").data[0]
    assert (list(drawn.x), list(drawn.y)) == (["8", "16", "128"], ["1e-05", "0.0001"])
    found = {
        (x, y): (value, text)
        for y, values, texts in zip(drawn.y, drawn.z, drawn.text, strict=True)
        for x, value, text in zip(drawn.x, values, texts, strict=True)
        if not math.isnan(value)
    }
    assert found == {
        ("16", "0.0001"): (0.45, "0.450<br>n = 2"),
        ("8", "1e-05"): (2.0, "2.00<br>n = 1"),
        ("128", "0.0001"): (3.0, "3.00<br>n = 1"),
    }
    assert drawn.colorbar.title.text == "prompts/s"


def test_of_one_run_a_cell_no_count_is_written():
    drawn = knob_heat_map(grid_of({"a": 1.0, "b": 2.0}), "batch", "lr", "prompts/s").data[0]
    assert not any("n =" in text for row in drawn.text for text in row)
