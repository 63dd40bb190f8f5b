"""Advantages within a group."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.loss.advantages import group_advantages

rewards = st.lists(st.floats(-5, 5), min_size=2, max_size=16)


@settings(deadline=None)
@given(rewards)
def test_advantages_are_rewards_in_deviations_from_their_groups_mean(values):
    centred = np.array(values) - np.mean(values)
    expected = centred / (np.sqrt(np.mean(centred**2)) + 1e-4)
    for loss in ("grpo", "dapo", "gspo", "cispo"):
        assert group_advantages(values, loss) == pytest.approx(expected.tolist(), abs=1e-9)
    assert group_advantages(values, "dr_grpo") == pytest.approx(centred.tolist(), abs=1e-12)


def test_advantages_of_a_known_group():
    deviation = np.sqrt(3) / 4
    expected = [0.75 / (deviation + 1e-4), *[-0.25 / (deviation + 1e-4)] * 3]
    assert group_advantages([1, 0, 0, 0], "grpo") == pytest.approx(expected)
    assert group_advantages([1, 0, 0, 0], "dr_grpo") == [0.75, -0.25, -0.25, -0.25]


@settings(deadline=None)
@given(st.floats(-5, 5), st.integers(2, 64), st.sampled_from(["grpo", "dr_grpo"]))
def test_equal_rewards_are_worth_exactly_nothing(reward, count, loss):
    assert group_advantages([reward] * count, loss) == [0.0] * count
