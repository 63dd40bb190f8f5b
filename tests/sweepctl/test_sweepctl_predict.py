"""What is summed up of a run's plays: chance, modes, plays that were given up, and what costs do not tell."""

import random
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from results.files.predictions import Prediction
from sweepctl.planner.costs import CostModel, by_hand, way_of
from sweepctl.planner.predict import play, predict, range_of_next, summed_up, usual_number
from trainer.config import RunConfig
from trainer.records import Fate
from trainer.simulator import Durations, StalledError, Work, simulate


def drawn(share_filtered=0.0, spread=0.6, crowding=0.1):
    """Costs of 48 groups that differ."""
    rng = random.Random(3)
    pool = [
        Work(
            rng.lognormvariate(0.0, spread),
            completion_tokens=rng.randrange(100, 900),
            learner_tokens=rng.randrange(200, 1000),
            fate=Fate.FILTERED if rng.random() < share_filtered else Fate.TRAINED,
        )
        for _ in range(48)
    ]
    return CostModel(
        source="drawn",
        durations=Durations(crowding=crowding, learn_s_per_token=2e-4, other_s=0.1),
        progress=[0.0] * 48,
        pool=pool,
        completions_per_prompt=8,
    )


def config(**changes):
    return RunConfig.model_validate({"max_steps": 12, "prompts_per_optim_step": 4, **changes})


class TestChance:
    @given(st.lists(st.floats(0.5, 2.0), min_size=3, max_size=20, unique=True))
    def test_it_is_students_prediction_interval(self, values):
        fitted = sm.OLS(values, np.ones(len(values))).fit()
        expected = fitted.get_prediction([[1.0]]).conf_int(obs=True, alpha=0.05)[0]
        assert range_of_next(np.array(values)) == pytest.approx((max(0.0, expected[0]), expected[1]))

    def test_of_costs_that_leave_nothing_to_chance_it_is_the_mean(self):
        assert range_of_next(np.array([1.5])) == (1.5, 1.5)

    @pytest.mark.parametrize("plays", [3, 8, 20])
    def test_it_holds_95_percent_of_runs_with_the_same_costs(self, plays):
        costs, run = drawn(), config()
        way, durations = way_of(run), costs.durations_of(run)
        means = np.array(
            [
                simulate(way, durations, costs.drawing(run, seed)).wall_s / run.max_steps
                for seed in range(2000)
            ]
        )
        rng = np.random.default_rng(7)
        trials = [rng.choice(means, plays + 1, replace=False) for _ in range(2000)]
        ends = [range_of_next(trial[:-1]) for trial in trials]
        held = np.mean([low <= trial[-1] <= high for (low, high), trial in zip(ends, trials, strict=True)])
        assert held == pytest.approx(0.95, abs=0.03)


class TestPlaysThatAreGivenUp:
    def test_the_others_are_summed_up_and_the_share_is_told(self):
        costs = drawn(share_filtered=0.7)
        run = config(max_steps=60, prompts_per_optim_step=2, max_useless_batches=8)
        plays = play(run, costs, 20)
        ended = [each for each in plays if each is not None]
        assert 2 <= len(ended) < 20
        prediction = predict(run, costs, 20)
        assert prediction.stalled_share == pytest.approx(1 - len(ended) / 20)
        assert prediction.replications == 20
        assert prediction.step_s == pytest.approx(np.mean([each.wall_s / run.max_steps for each in ended]))
        dispatched = sum(sum(each.fates.values()) for each in ended)
        assert prediction.dispatched_per_trained == pytest.approx(dispatched / len(ended) / 120)

    def test_of_several_one_says_nothing_of_chance(self):
        run, costs = config(), drawn()
        (ended,) = play(run, costs, 1)
        assert summed_up(run, costs, [ended]).stalled_share == 0
        with pytest.raises(StalledError, match="1 of 3 plays come to their end"):
            summed_up(run, costs, [None, ended, None])


@pytest.mark.parametrize(
    ("modes", "usual"),
    [([1, 2, 2, 1, 3], 2), ([1, 1, 2, 3, 1], 1), ([2, 2, 3, 3, 1], 2), ([1, 2], 1), ([3], 3), ([0, 0], 0)],
)
def test_several_modes_where_most_replications_show_several(modes, usual):
    assert usual_number(modes) == usual


class TestWhatCostsDoNotTell:
    def test_by_hand_nothing_is_said_of_tokens_and_verdicts(self):
        prediction = predict(config(), by_hand(generate_s=14, train_s_per_prompt=1, overhead_s=1), 1)
        assert prediction.wasted_token_share is None
        assert prediction.dispatched_per_trained is None
        assert prediction.completion_tokens_per_prompt is None

    def test_what_earlier_releases_wrote_of_it_is_read_as_nothing(self):
        told = predict(config(), drawn(), 3)
        before = told.model_dump(mode="json", exclude={"stalled_share"})
        assert Prediction.model_validate(before) == told
        by_hand_before = before | {"completion_tokens_per_prompt": 0.0, "dispatched_per_trained": 1.0}
        found = Prediction.model_validate(by_hand_before | {"wasted_token_share": None})
        assert found == told.model_copy(
            update={
                "completion_tokens_per_prompt": None,
                "dispatched_per_trained": None,
                "wasted_token_share": None,
            }
        )


def test_durations_may_be_others_than_the_costs():
    run, costs = config(), drawn()
    free = replace(costs.durations_of(run), learn_s_per_token=0.0, other_s=0.0)
    for slow, fast in zip(play(run, costs, 3), play(run, costs, 3, free), strict=True):
        assert sum(step.learn_s for step in fast.steps) == 0 < sum(step.learn_s for step in slow.steps)
