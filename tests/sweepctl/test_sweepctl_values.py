"""Axis forms: the values they give, and how those are written in names."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepctl.errors import Place
from sweepctl.expansion.expand import expand
from sweepctl.spec.file import checked
from sweepctl.spec.resolve import resolve
from sweepctl.spec.source import parse
from sweepctl.spec.values import Distribution


def axis(key, form):
    """Values and texts that a form gives."""
    spec = {"version": 1, "name": "n", "parameters": {key: form}}
    (block,) = resolve(checked(parse(json.dumps(spec), "spec.yaml")), None).blocks
    return [row[key].value for row in block.rows], [row[key].text for row in block.rows]


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ({"range": [3]}, [0, 1, 2]),
        ({"range": [1, 3]}, [1, 2]),
        ({"range": [5, 0, -2]}, [5, 3, 1]),
        ({"range": [0, 0.5, 0.1]}, [0.0, 0.1, 0.2, 0.3, 0.4]),
        ({"range": [1e-5, 4e-5, 1e-5]}, [1e-5, 2e-5, 3e-5]),
        ({"linspace": {"min": 0, "max": 0.3, "num": 4}}, [0.0, 0.1, 0.2, 0.3]),
        ({"linspace": {"min": 1, "max": 9, "num": 3}}, [1, 5, 9]),
        ({"linspace": {"min": 0, "max": 1, "num": 3}}, [0.0, 0.5, 1.0]),
        ({"logspace": {"min": 1e-6, "max": 1e-4, "num": 3}}, [1e-6, 1e-5, 1e-4]),
        ({"logspace": {"min": 1, "max": 1000, "num": 4}}, [1, 10, 100, 1000]),
        ({"values": [0.5, 1]}, [0.5, 1]),
        ({"choice": [0.5, 1]}, [0.5, 1]),
    ],
)
def test_a_form_gives_exactly_its_values(form, values):
    found, _ = axis("optim.weight_decay", form)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


def test_generated_values_are_short_in_names_and_still_tell_apart():
    assert axis("optim.lr", {"logspace": {"min": 1e-6, "max": 1e-5, "num": 3}})[1] == [
        "1e-6",
        "3.16228e-6",
        "1e-5",
    ]
    assert axis("optim.lr", {"range": [1e6, 3e6, 1e6]})[1] == ["1e6", "2e6"]
    close = axis("optim.lr", {"range": [1, 1.0000003, 0.0000001]})[1]
    assert close == ["1.0", "1.0000001", "1.0000002"]


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 9))
def test_range_of_whole_numbers_is_pythons(start, stop, step):
    if list(range(start, stop, step)):
        assert axis("max_steps", {"range": [start, stop, step]})[0] == list(range(start, stop, step))


@given(
    st.floats(1e-9, 1e3, allow_nan=False),
    st.floats(1.001, 1e6),
    st.integers(2, 30),
    st.sampled_from(["linspace", "logspace"]),
)
def test_spaced_values_keep_their_ends_and_their_order(low, factor, count, name):
    values, texts = axis("optim.lr", {name: {"min": low, "max": low * factor, "num": count}})
    assert (values[0], values[-1], len(values)) == (low, low * factor, count)
    assert values == sorted(values)
    assert len(set(texts)) == len(set(values))


@given(st.integers(0, 2**32), st.integers(1, 50), st.integers(1, 1000), st.booleans())
def test_draws_of_whole_numbers_stay_between_their_ends(seed, low, more, logarithmic):
    space = Distribution("max_steps", low, low + more, logarithmic, Place("spec.yaml", 1))
    drawn = space.draw(random.Random(seed))["max_steps"]
    assert isinstance(drawn.value, int)
    assert low <= drawn.value <= low + more
    assert drawn.text == str(drawn.value)


def test_whole_numbers_are_drawn_evenly_ends_included():
    """Of 3 numbers each comes up in a third of 3000 draws; five standard deviations are 129."""
    rng, space = random.Random(0), Distribution("max_steps", 1, 3, False, Place("spec.yaml", 1))
    drawn = [space.draw(rng)["max_steps"].value for _ in range(3000)]
    assert all(abs(drawn.count(value) - 1000) < 129 for value in (1, 2, 3))


def test_log_uniform_gives_each_decade_its_share():
    rng, space = random.Random(0), Distribution("optim.lr", 1e-6, 1e-3, True, Place("spec.yaml", 1))
    drawn = [space.draw(rng)["optim.lr"].value for _ in range(3000)]
    assert abs(sum(value < 1e-5 for value in drawn) - 1000) < 129


def test_a_drawn_value_is_what_its_name_says():
    space = "{optim.lr: {uniform: {min: 1, max: 2}}}"
    text = f"{{version: 1, name: n, method: random, max_runs: 20, parameters: {space}}}"
    for point in expand(resolve(checked(parse(text, "spec.yaml")), None)).points:
        assert point.config.optim.lr == float(point.run_name.removeprefix("lr"))
