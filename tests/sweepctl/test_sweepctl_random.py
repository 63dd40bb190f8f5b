"""`method: random`: the same draws every time, none twice, and more of them after the ones there were."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl.errors import SpecError
from sweepctl.expansion.expand import expand
from sweepctl.spec.file import checked
from sweepctl.spec.resolve import resolve
from sweepctl.spec.source import parse

PARAMETERS = {
    "max_staleness": {"choice": [0, 1, 2]},
    "optim.lr": {"log_uniform": {"min": 1e-6, "max": 1e-4}},
    "max_steps": {"uniform": {"min": 5, "max": 50}},
}
ZIP = [{"prompts_per_optim_step": [16, 8], "prompts_per_rollout_sync": [16, 16]}]


def drawn(**keys):
    spec = {
        "version": 1,
        "name": "n",
        "method": "random",
        "max_runs": 5,
        "parameters": PARAMETERS,
        "zip": ZIP,
    }
    return expand(resolve(checked(parse(json.dumps(spec | keys), "spec.yaml")), None))


def configs(**keys):
    return [point.config for point in drawn(**keys).points]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 20), st.integers(0, 30))
def test_more_draws_keep_the_earlier_ones(seed, few, more):
    assert configs(seed=seed, max_runs=few + more)[:few] == configs(seed=seed, max_runs=few)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_what_is_drawn_is_in_the_space_and_can_be_run(seed):
    found = drawn(seed=seed, max_runs=20, exclude=[{"max_staleness": 2}])
    assert len(found.points) == 20
    for point in found.points:
        pair = (point.value("prompts_per_optim_step"), point.value("prompts_per_rollout_sync"))
        assert pair in {(16, 16), (8, 16)}
        assert point.value("max_staleness") in ({0, 1} if pair == (16, 16) else {1})  # k - 1 <= s
        assert 1e-6 <= point.config.optim.lr <= 1e-4
        assert 5 <= point.config.max_steps <= 50
    assert len({point.config.run_id() for point in found.points}) == 20


def test_another_seed_draws_others_and_the_default_is_0():
    assert configs() == configs(seed=0)
    assert configs() != configs(seed=1)


def test_every_draw_is_run_with_every_seed():
    alone = configs()
    crossed = configs(seeds=[3, 4])
    assert crossed == [config.model_copy(update={"seed": seed}) for seed in (3, 4) for config in alone]


def test_a_small_space_is_drawn_empty_and_says_so():
    found = drawn(parameters={"max_staleness": [0, 1]}, zip=[], max_runs=3)
    assert sorted(point.value("max_staleness") for point in found.points) == [0, 1]
    assert found.notes == ("max_runs is 3, but 300 draws found only 2 different points that can be run",)


def test_a_zip_cannot_be_drawn_from():
    with pytest.raises(SpecError, match="which an axis of a zip entry cannot be; put it under 'parameters'"):
        drawn(zip=[{"optim.weight_decay": {"uniform": {"min": 0, "max": 1}}}])


def test_infeasible_error_keeps_what_is_infeasible():
    with pytest.raises(SpecError, match="infeasible points"):
        drawn(infeasible="error", max_runs=50)


def test_a_condition_applies_before_draws_are_judged():
    """What `when` makes feasible is kept; without it every draw would be infeasible."""
    found = drawn(
        parameters={"optim.lr": PARAMETERS["optim.lr"]},
        zip=[{"prompts_per_optim_step": [8], "prompts_per_rollout_sync": [32]}],
        when=[{"if": {"prompts_per_rollout_sync": 32}, "set": {"max_staleness": 3}}],
    )
    assert [point.value("max_staleness") for point in found.points] == [3] * 5


def test_draws_that_set_different_keys_are_told_apart_by_all_of_them():
    """One batch may have drawn no value that sets task.problems; what is the same is still found."""
    tasks = ["arithmetic", {"name": "arithmetic", "problems": 5}, {"name": "arithmetic", "problems": 6}]
    for seed in range(20):
        found = drawn(parameters={"task": tasks}, zip=[], max_runs=3, seed=seed, run_name="{task.problems}")
        assert sorted(point.run_name for point in found.points) == ["5", "6", "null"]
        assert found.notes == ()
