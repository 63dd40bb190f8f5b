"""Costs given by hand and costs fitted to a run, by simulated runs whose costs are known."""

import itertools
import random
from dataclasses import replace
from statistics import mean

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl.planner.costs import CostModel, by_hand, progress_at, way_of
from sweepctl.planner.crowding import fit_crowding, generation_alone_s
from sweepctl.planner.fit import fit
from sweepctl.planner.measured import Measured
from sweepctl.planner.predict import predict
from trainer.config import RunConfig
from trainer.errors import ConfigError
from trainer.records import Fate
from trainer.simulator import Durations, Work, simulate

COMPLETIONS, PROMPT_TOKENS = 8, 20
STEP_COLUMNS = ("start_s", "wall_s", "learn_s", "sync_s", "checkpoint_s", "other_s")


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
    groups.sort(key=lambda group: group.number)
    synced = [step for version, step in enumerate(run.steps, 1) if config.schedule.sync_due(version)]
    resumed_s = [step.start_s + step.wall_s - step.checkpoint_s for step in synced]
    syncs_s = [(at - step.sync_s, at) for at, step in zip(resumed_s, synced, strict=True)]
    again = config.updates_per_batch - 1
    rows = [
        {
            "group_id": group.number,
            "fate": str(group.fate),
            "prompt": f"{group.place}/0",
            "version_min": group.version,
            "dispatched_s": group.dispatched_s,
            "finished_s": group.finished_s,
            # What did not finish was aborted, right before the next sync.
            "ended_s": group.finished_s or next(at for at, _ in syncs_s if at > group.dispatched_s),
            "generate_s": group.work.generate_s,  # which the store does not know
            "verified_s": group.finished_s and group.finished_s + durations.verify_s,
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": group.completion_tokens,
        }
        for group in groups
    ]
    steps = pd.DataFrame(
        {
            **{name: getattr(step, name) for name in STEP_COLUMNS},
            "prompt_tokens": PROMPT_TOKENS * config.prompts_per_optim_step,
            "completion_tokens": step.completion_tokens,
            "lr": config.optim.lr,
        }
        for step in run.steps
    )
    tokens = steps["completion_tokens"] + COMPLETIONS * steps["prompt_tokens"]
    one_pass_s = durations.learn_s_per_token / config.updates_per_batch * tokens
    return Measured(
        name="made/up",
        groups=pd.DataFrame(rows).astype({"finished_s": float, "verified_s": float}),
        steps=steps,
        optimizer_s=(durations.optimizer_s + again * one_pass_s).to_numpy(),
        syncs_s=np.array(syncs_s).reshape(-1, 2),
        held_out_s=_evaluations_s(config, run, durations.held_out_s),
        completions_per_prompt=COMPLETIONS,
        updates_per_batch=config.updates_per_batch,
    )


def _evaluations_s(config, run, took_s):
    """A shorter one before the first step, those at the beginning of a step, and one after the last."""
    every = config.held_out.every_steps
    if every is None:
        return np.empty((0, 2))
    begun_s = [step.start_s for step in run.steps] + [run.wall_s]
    within = [(at, at + took_s) for at in begun_s[every::every]]
    return np.array([(-0.4 * took_s, 0.0), *within])


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


EVICT = {"staleness_policy": "evict_requeue", "max_inflight_groups": 48}
WAYS = {
    "wait": {},
    "abort": {"in_flight": "abort"},
    "keep": {"in_flight": "keep"},
    "evict": EVICT,
    "evict-keep": {**EVICT, "in_flight": "keep"},
    "evict-abort": {**EVICT, "in_flight": "abort"},
}


@pytest.mark.parametrize("crowding", [0.1, 0.5])
@pytest.mark.parametrize("way", WAYS)
def test_costs_are_found_again_whatever_becomes_of_running_and_old_groups(way, crowding):
    """On average over runs: one of them may tell less of crowding than another."""
    arm = config(1, 8, 8, steps=60, **WAYS[way])
    found_crowding, alone_s, own_s, other_s = [], [], [], []
    for seed in range(4):
        costs = costs_with(crowding, seed=seed)
        measured = recorded(arm, costs, seed)
        found = fit([measured], "a run")
        true_s = measured.groups.drop_duplicates("prompt")["generate_s"].mean()
        found_crowding.append(found.durations.crowding / crowding)
        alone_s.append(mean(work.generate_s for work in found.pool) / true_s)
        for ratios, each in ((own_s, arm), (other_s, config(0, 16, 16, steps=40))):
            expected, predicted = (predict(each, one, 3).step_s for one in (costs, found))
            ratios.append(predicted / expected)
    assert mean(own_s) == pytest.approx(1.0, abs=0.08)
    assert mean(other_s) == pytest.approx(1.0, abs=0.05)
    if way != "evict-keep":  # always full, its engine shows how fast full is, and hardly what slows it down
        assert mean(found_crowding) == pytest.approx(1.0, abs=0.15)
        assert mean(alone_s) == pytest.approx(1.0, abs=0.15)


def test_a_prompt_counts_once_however_often_it_was_sent_and_where_it_was_drawn():
    arm = config(1, 4, 4, steps=30, **{**EVICT, "max_inflight_groups": 24, "in_flight": "abort"})
    costs = costs_with(0.1)
    measured = recorded(arm, costs, 0)
    groups = measured.groups
    fates = groups["fate"].value_counts()
    assert min(fates["evicted"], fates["aborted"]) > 0
    told = groups[groups["fate"].isin(["trained", "filtered", "evicted"])]
    found = fit([measured], "a run")
    assert len(found.pool) == told["prompt"].nunique() < len(told)
    drawn = groups.groupby("prompt")["version_min"].min()[told["prompt"].unique()]
    assert list(found.progress) == pytest.approx(sorted(arm.optim.lr * drawn))
    ends = told.groupby("prompt")["fate"].last()
    trained = sum(work.fate is Fate.TRAINED for work in found.pool)
    assert trained == (ends != "filtered").sum()  # evicted: it could have been, had it come earlier


def test_groups_that_a_sync_halts_have_not_run_meanwhile():
    arm = config(1, 8, 8, steps=40, in_flight="keep")
    made_up = costs_with(0.0)
    slow_syncs = replace(made_up, durations=replace(made_up.durations, sync_s=5.0))
    measured = recorded(arm, slow_syncs, 0)
    halted = measured.groups["finished_s"] - measured.groups["dispatched_s"]
    assert (halted > measured.groups["generate_s"] + 4.9).any()
    found = fit([measured], "a run")
    assert found.durations.crowding == pytest.approx(0.0, abs=0.02)
    alone_s = [work.generate_s for work in found.pool]
    assert mean(alone_s) == pytest.approx(measured.groups["generate_s"].mean(), rel=0.05)


def test_progress_counts_every_update_of_a_batch_as_a_prediction_does():
    arm = config(0, 8, 8, steps=20, updates_per_batch=2)
    found = fit([recorded(arm, costs_with(0.1), 0)], "a run")
    assert max(found.progress) == pytest.approx(progress_at(arm, 19))
    assert min(found.progress) == 0.0


@pytest.mark.parametrize("updates", [1, 2, 4])
def test_further_updates_take_time_for_each_token_and_the_optimizer_for_each_step(updates):
    costs = costs_with(0.1)
    true = costs.durations
    found = fit([recorded(config(0, 16, 16, updates_per_batch=updates), costs, 0)], "a run").durations
    assert found.learn_s_per_token == pytest.approx(true.learn_s_per_token, rel=0.02)
    assert found.optimizer_s == pytest.approx(true.optimizer_s, rel=0.1)


def test_updates_that_take_less_than_the_first_are_all_counted_and_no_more():
    """With a penalty for leaving the reference only the first one has its forward pass."""
    measured = recorded(config(0, 16, 16, updates_per_batch=4), costs_with(0.1), 0)
    saved_s = 0.5 * measured.optimizer_s
    steps = measured.steps.assign(learn_s=measured.steps["learn_s"] - saved_s)
    found = fit(
        [replace(measured, steps=steps, optimizer_s=measured.optimizer_s - saved_s)], "a run"
    ).durations
    tokens = steps["completion_tokens"] + COMPLETIONS * steps["prompt_tokens"]
    assert found.optimizer_s == 0.0
    assert found.learn_s_per_token == pytest.approx(steps["learn_s"][1:].sum() / tokens[1:].sum())


def test_held_out_evaluations_are_a_cost_of_their_own_that_only_those_who_evaluate_pay():
    evaluates = config(0, 8, 8, steps=40, held_out={"every_steps": 4})
    made_up = costs_with(0.1)
    costs = replace(made_up, durations=replace(made_up.durations, held_out_s=3.0))
    found = fit([recorded(evaluates, costs, 0)], "a run")
    assert found.durations.held_out_s == pytest.approx(3.0)
    assert found.durations.other_s == pytest.approx(0.03)
    quiet, seldom = config(0, 8, 8, steps=40), config(0, 8, 8, steps=40, held_out={"every_steps": 8})
    assert predict(quiet, found, 1).other_s == pytest.approx(0.03)
    assert predict(seldom, found, 1).other_s == pytest.approx(0.03 + 4 * 3.0 / 40)  # after 8, 16, 24 and 32


def test_a_short_run_knows_the_evaluation_before_its_first_step():
    evaluates = config(0, 8, 8, steps=6, held_out={"every_steps": 10})
    made_up = costs_with(0.1)
    costs = replace(made_up, durations=replace(made_up.durations, held_out_s=3.0))
    found = fit([recorded(evaluates, costs, 0)], "a pilot").durations
    assert found.held_out_s == pytest.approx(0.4 * 3.0)
    assert found.other_s == pytest.approx(0.03)


def brute_alone_s(groups, crowding):
    """From each event to the next, every group that runs gets a share of the time."""
    begun, ended = groups["dispatched_s"].to_numpy(), groups["ended_s"].to_numpy()
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
        {"dispatched_s": [begun for begun, _ in times], "ended_s": [begun + took for begun, took in times]}
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


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 0, 0), "nothing takes any time .* found 0 for --generate-s, --train-s-per-prompt, --overhead-s"),
        ((float("inf"), 1.75, 0.6), "--generate-s: a cost is a finite number .* found inf"),
        ((14, float("nan"), 0.6), "--train-s-per-prompt: .* found nan"),
        ((14, 1.75, -1), "--overhead-s: .* found -1"),
    ],
)
def test_numbers_that_no_machine_could_have_are_refused(numbers, message):
    with pytest.raises(ConfigError, match=message):
        by_hand(**dict(zip(("generate_s", "train_s_per_prompt", "overhead_s"), numbers, strict=True)))
