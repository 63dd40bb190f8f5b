"""Costs given by hand and costs fitted to a run, by simulated runs whose costs are known."""

import itertools
import random
from statistics import mean

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl.planner.costs import CostModel, by_hand, progress_at, way_of
from sweepctl.planner.fit import Measured, fit, fit_crowding, generation_alone_s
from sweepctl.planner.predict import predict
from trainer.config import RunConfig
from trainer.records import Fate
from trainer.simulator import Durations, Work, simulate

COMPLETIONS, PROMPT_TOKENS = 8, 20


def config(s, batch, sync, steps=100, **more):
    return RunConfig.model_validate(
        {
            "max_steps": steps,
            "max_staleness": s,
            "prompts_per_optim_step": batch,
            "prompts_per_rollout_sync": sync,
            "completions_per_prompt": COMPLETIONS,
            "optim": {"lr": 1e-5},
            "checkpoint": {"every_steps": None},
            **more,
        }
    )


# The published arms: what DESIGN's three numbers say of them.

ARMS = [(0, 16, 16), (1, 16, 16), (0, 8, 8), (1, 8, 8), (1, 8, 16)]
PUBLISHED_S = [42.6, 29.1, 28.7, 15.2, 21.1]


@pytest.fixture(scope="module")
def three_numbers():
    return by_hand(generate_s=14, train_s_per_prompt=1.75, overhead_s=0.6)


@pytest.mark.parametrize(("arm", "published_s"), list(zip(ARMS, PUBLISHED_S, strict=True)))
def test_three_numbers_give_the_published_mean_step_time_of_each_arm(three_numbers, arm, published_s):
    assert predict(config(*arm), three_numbers, 1).step_s == pytest.approx(published_s, rel=0.05)


def test_they_give_the_fifth_arm_two_modes_in_equal_parts_and_the_others_one(three_numbers):
    modes = [predict(config(*arm), three_numbers, 1).modes for arm in ARMS]
    assert [len(each) for each in modes] == [1, 1, 1, 1, 2]
    short, long = modes[-1]
    assert (short.seconds, long.seconds) == (pytest.approx(14, rel=0.06), pytest.approx(28, rel=0.06))
    assert short.weight == pytest.approx(0.5, abs=0.02)
    assert long.weight == pytest.approx(0.5, abs=0.02)


# A run with known costs, as its trace would tell it.


def work_like(rng, noise=0.1, useless=0.2):
    tokens = 8 + int(rng.lognormvariate(5.5, 0.5))
    return Work(
        generate_s=0.002 * tokens**0.9 * rng.lognormvariate(0.0, noise),
        completion_tokens=tokens,
        learner_tokens=tokens + COMPLETIONS * PROMPT_TOKENS,
        fate=Fate.FILTERED if rng.random() < useless else Fate.TRAINED,
    )


def costs_with(crowding, noise=0.1, seed=0):
    rng = random.Random(seed)
    works = [work_like(rng, noise) for _ in range(3000)]
    return CostModel(
        source="made up",
        durations=Durations(
            crowding=crowding,
            verify_s=0.02,
            learn_s_per_token=2e-4,
            optimizer_s=0.1,
            other_s=0.03,
            sync_s=0.15,
            checkpoint_s=0.4,
        ),
        progress=np.linspace(0.0, 1e-3, len(works)).tolist(),
        pool=works,
        completions_per_prompt=COMPLETIONS,
    )


def recorded(config, costs, seed):
    """A simulated run in the columns of the store's tables."""
    groups = []
    durations = costs.durations_of(config)
    run = simulate(way_of(config), durations, costs.drawing(config, seed), groups.append)
    finished = sorted(
        (group for group in groups if group.finished_s is not None), key=lambda group: group.number
    )
    return Measured(
        name="made/up",
        groups=pd.DataFrame(
            {
                "fate": str(group.fate),
                "version_min": group.version,
                "dispatched_s": group.dispatched_s,
                "finished_s": group.finished_s,
                "generate_s": group.work.generate_s,  # which the store does not know
                "verified_s": group.finished_s + durations.verify_s,
                "prompt_tokens": PROMPT_TOKENS,
                "completion_tokens": group.completion_tokens,
            }
            for group in finished
        ),
        steps=pd.DataFrame(
            {
                **{name: getattr(step, name) for name in ("learn_s", "sync_s", "checkpoint_s", "other_s")},
                "prompt_tokens": PROMPT_TOKENS * config.prompts_per_optim_step,
                "completion_tokens": step.completion_tokens,
                "lr": config.optim.lr,
            }
            for step in run.steps
        ),
        optimizer_s=np.full(config.max_steps, durations.optimizer_s),
        completions_per_prompt=COMPLETIONS,
    )


@pytest.mark.parametrize("crowding", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("arm", [(0, 16, 16), (1, 8, 16)])
def test_a_fit_finds_the_costs_of_a_run_again(crowding, arm):
    true = costs_with(crowding).durations
    for seed in range(3):
        found = fit(
            [recorded(config(*arm, steps=60), costs_with(crowding, seed=seed), seed)], "a run"
        ).durations
        assert found.crowding == pytest.approx(crowding, abs=0.05)
        assert found.learn_s_per_token == pytest.approx(true.learn_s_per_token, rel=0.02)
        for name in ("verify_s", "optimizer_s", "other_s", "sync_s", "checkpoint_s"):
            assert getattr(found, name) == pytest.approx(getattr(true, name))


@pytest.mark.parametrize("crowding", [0.1, 0.5])
def test_a_fit_is_right_on_average_also_where_tokens_explain_little(crowding):
    arm = config(0, 16, 16, steps=40)
    found = [
        fit_crowding(recorded(arm, costs_with(crowding, noise=0.3, seed=seed), seed).groups)
        for seed in range(8)
    ]
    assert mean(found) == pytest.approx(crowding, rel=0.1)


def test_the_work_that_a_fit_draws_from_is_that_of_the_run():
    measured = recorded(config(1, 8, 16, steps=60), costs_with(0.5), 0)
    found = fit([measured], "a run")
    assert list(found.progress) == sorted(found.progress)
    drawn = measured.groups.sort_values("version_min", kind="stable")  # as progress has it
    assert [work.completion_tokens for work in found.pool] == drawn["completion_tokens"].tolist()
    assert [str(work.fate) for work in found.pool] == drawn["fate"].tolist()
    overheads = {work.learner_tokens - work.completion_tokens for work in found.pool}
    assert overheads == {COMPLETIONS * PROMPT_TOKENS}
    alone_s = [work.generate_s for work in found.pool]
    assert alone_s == pytest.approx(drawn["generate_s"].tolist(), rel=0.06)


@pytest.mark.parametrize("crowding", [0.0, 0.1, 0.5, 0.9])
def test_costs_fitted_to_one_arm_predict_the_others(crowding):
    costs = costs_with(crowding)
    fitted = fit([recorded(config(0, 16, 16), costs, 1)], "a run")
    for arm in ARMS:
        expected, found = (predict(config(*arm, steps=60), each, 5) for each in (costs, fitted))
        assert found.step_s == pytest.approx(expected.step_s, rel=0.05)
        assert found.age_mean == pytest.approx(expected.age_mean, abs=0.05)


def test_seeds_of_an_arm_are_fitted_together():
    """Each begins anew on the clock; none of them ran beside another."""
    arm, costs = config(0, 16, 16), costs_with(0.5)
    runs = [recorded(arm, costs, seed) for seed in range(3)]
    each = [fit([run], "a run") for run in runs]
    together = fit(runs, "an arm")
    assert together.source == "fitted on an arm"
    assert len(together.pool) == sum(len(one.pool) for one in each)
    assert list(together.progress) == sorted(value for one in each for value in one.progress)
    assert together.durations.crowding == pytest.approx(0.5, abs=0.03)
    steps = pd.concat([run.steps[1:] for run in runs])
    assert together.durations.other_s == pytest.approx(steps["other_s"].mean())
    alone = sorted(work.generate_s for work in together.pool)
    assert alone == pytest.approx(
        sorted(np.concatenate([run.groups["generate_s"] for run in runs])), rel=0.06
    )


def test_an_evicted_group_could_have_been_trained_and_an_aborted_one_tells_nothing():
    arm = config(
        1, 4, 4, steps=30, staleness_policy="evict_requeue", max_inflight_groups=24, in_flight="abort"
    )
    measured = recorded(arm, costs_with(0.1), 0)
    fates = measured.groups["fate"].value_counts()
    assert fates["evicted"] > 0
    pool = fit([measured], "a run").pool
    assert len(pool) == len(measured.groups)
    trained = sum(work.fate is Fate.TRAINED for work in pool)
    assert trained == fates["trained"] + fates["evicted"]


def brute_alone_s(groups, crowding):
    """From each event to the next, every group that runs gets a share of the time."""
    begun, ended = groups["dispatched_s"].to_numpy(), groups["finished_s"].to_numpy()
    alone = np.zeros(len(groups))
    for since, until in itertools.pairwise(sorted({*begun, *ended})):
        runs = (begun <= since) & (ended >= until)
        if runs.any():
            alone[runs] += (until - since) / (1 + crowding * (runs.sum() - 1))
    return alone


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0.01, 20)), min_size=1, max_size=12),
    st.sampled_from([0.0, 0.2, 0.9]),
)
def test_the_time_alone_is_the_integral_of_the_engines_speed(times, crowding):
    groups = pd.DataFrame(
        {"dispatched_s": [begun for begun, _ in times], "finished_s": [begun + took for begun, took in times]}
    )
    assert generation_alone_s(groups, crowding) == pytest.approx(brute_alone_s(groups, crowding), abs=1e-9)


# Costs of other sizes and times.


@pytest.mark.parametrize("size", [0.5, 2.0, 3.0])
@pytest.mark.parametrize("crowding", [0.0, 0.2, 0.8])
def test_groups_of_another_size_decode_as_many_sequences_at_the_same_cost(size, crowding):
    costs = costs_with(crowding)
    other = config(0, 16, 16, completions_per_prompt=round(size * COMPLETIONS))
    # A decoding step of m sequences takes a + b m; n of them are a group, so crowding is b n / (a + b n).
    fixed, each = 1.0 - crowding, crowding / COMPLETIONS
    durations, draw = costs.durations_of(other), costs.drawing(other, 0)
    same = costs.drawing(config(0, 16, 16), 0)
    for groups in (1, 3, 10):
        sequences = groups * size * COMPLETIONS
        decoding = (fixed + each * sequences) / (fixed + each * COMPLETIONS)
        larger, measured = draw(5), same(5)
        slowed = larger.generate_s * (1 + durations.crowding * (groups - 1))
        assert slowed == pytest.approx(measured.generate_s * decoding)
        assert larger.completion_tokens == round(size * measured.completion_tokens)
        assert larger.learner_tokens == round(size * measured.learner_tokens)


def test_numbers_given_by_hand_hold_for_groups_of_any_size(three_numbers):
    other = config(0, 16, 16, completions_per_prompt=64)
    assert three_numbers.drawing(other, 0)(0) == Work(14)
    assert three_numbers.durations_of(other) == three_numbers.durations


def test_a_prompts_work_is_drawn_from_groups_of_similar_progress_and_the_same_for_the_same_seed():
    progress = np.linspace(0.0, 1e-3, 1000).tolist()
    pool = [Work(float(place)) for place in range(1000)]
    costs = CostModel("made up", Durations(), progress, pool, COMPLETIONS)
    arm = config(1, 8, 8, steps=100)
    draw, again, other = (costs.drawing(arm, seed) for seed in (1, 1, 2))
    drawn = {version: [draw(version).generate_s for _ in range(1000)] for version in (0, 50, 99)}
    assert drawn == {version: [again(version).generate_s for _ in range(1000)] for version in (0, 50, 99)}
    assert [other(0).generate_s for _ in range(1000)] != drawn[0]
    assert set(drawn[0]) == set(range(48))
    assert set(drawn[50]) <= set(range(470, 530))
    assert len(set(drawn[50])) == 48
    assert min(drawn[99]) >= 950


@settings(deadline=None)
@given(st.integers(0, 10), st.integers(1, 3), st.integers(0, 30))
def test_progress_is_the_sum_of_the_learning_rates_before_a_version(warmup, updates, version):
    optim = {"lr": 1e-4, "warmup_steps": warmup}
    arm = config(0, 8, 8, optim=optim, updates_per_batch=updates)
    rates = [1e-4 * min((step + 1) / warmup if warmup else 1.0, 1.0) for step in range(version)]
    assert progress_at(arm, version) == pytest.approx(updates * sum(rates))


def test_a_run_of_useless_groups_is_ended_as_the_trainer_ends_it():
    arm = config(0, 8, 8, max_useless_batches=3)
    assert way_of(arm).max_useless_groups == 24
