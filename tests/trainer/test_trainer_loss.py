"""Advantages, the GRPO loss and its metrics against float64 computations of their formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.batch import group_advantages
from trainer.loss.grpo import grpo_loss
from trainer.step_metrics import TokenMetrics


def reference_loss(learner, generator, advantages, weights, penalty):
    """DeepSeekMath's eq. 3 token by token, with plain numbers."""
    clip, beta, reference = penalty
    total = 0.0
    for i in range(len(learner)):
        ratio = np.exp(learner[i] - generator[i])
        bounded = min(max(ratio, 1 - clip), 1 + clip)
        term = -min(ratio * advantages[i], bounded * advantages[i])
        if reference is not None:
            difference = reference[i] - learner[i]
            term += beta * (np.exp(difference) - difference - 1)
        total += weights[i] * term
    return total


def random_tokens(seed, count=40):
    rng = np.random.default_rng(seed)
    learner = -rng.exponential(1.5, count)
    generator = learner + rng.normal(0, 0.35, count)  # ratios on both sides of either bound
    reference = learner + rng.normal(0, 0.5, count)
    weights = rng.dirichlet(np.ones(count))
    return learner, generator, rng.normal(0, 1, count), weights, reference


def tensors(*arrays):
    return [torch.tensor(array, dtype=torch.float64) for array in arrays]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("beta", [0.0, 0.05])
def test_loss_and_gradient_equal_the_formula_and_its_finite_differences(seed, beta):
    learner, generator, advantages, weights, reference = random_tokens(seed)
    reference = reference if beta else None
    tensor = torch.tensor(learner, requires_grad=True)
    result = grpo_loss(
        tensor,
        *tensors(generator, advantages, weights),
        clip=0.2,
        beta=beta,
        reference_logprobs=None if reference is None else torch.tensor(reference),
    )
    arguments = (generator, advantages, weights, (0.2, beta, reference))
    assert result.loss.item() == pytest.approx(reference_loss(learner, *arguments), rel=1e-12)
    result.loss.backward()
    for i in range(len(learner)):
        step = np.zeros_like(learner)
        step[i] = 1e-6
        slope = (
            reference_loss(learner + step, *arguments) - reference_loss(learner - step, *arguments)
        ) / 2e-6
        assert tensor.grad[i].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_clipping_takes_the_gradient_only_where_it_would_push_the_ratio_further_out():
    logs = np.log([1.5, 1.5, 0.5, 0.5, 1.1, 0.9])
    advantages = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0]
    learner = torch.tensor(logs, requires_grad=True)
    result = grpo_loss(learner, torch.zeros(6), torch.tensor(advantages), torch.ones(6), clip=0.2)
    result.loss.backward()
    assert result.clipped.tolist() == [True, False, False, True, False, False]
    expected = [0.0, 1.5, -0.5, 0.0, -1.1, 0.9]
    assert learner.grad.tolist() == pytest.approx(expected)


def test_at_equal_policies_the_gradient_is_plain_policy_gradient():
    learner = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    advantages, weights = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 0.3, 0.2])
    grpo_loss(learner, learner.detach(), advantages, weights, clip=0.2).loss.backward()
    assert torch.allclose(learner.grad, -advantages * weights)


rewards = st.lists(st.sampled_from([0.0, 1.0, 0.5]), min_size=2, max_size=16)


@given(rewards)
def test_advantages_are_rewards_in_deviations_from_their_groups_mean(values):
    advantages = group_advantages(values)
    array = np.array(values)
    expected = (array - array.mean()) / (np.sqrt(((array - array.mean()) ** 2).mean()) + 1e-4)
    assert advantages == pytest.approx(expected.tolist(), abs=1e-9)
    assert sum(advantages) == pytest.approx(0, abs=1e-9)


def test_advantages_of_a_known_group():
    assert group_advantages([1, 0, 0, 0]) == pytest.approx(
        [0.75 / (np.sqrt(3) / 4 + 1e-4)] + [-0.25 / (np.sqrt(3) / 4 + 1e-4)] * 3
    )
    assert group_advantages([1, 1, 1]) == [0, 0, 0]


@pytest.mark.parametrize("splits", [[40], [13, 27], [1] * 40])
def test_metrics_are_means_and_extremes_over_all_tokens_however_they_are_split(splits):
    learner, generator, advantages, weights, reference = random_tokens(7)
    entropy = np.random.default_rng(1).uniform(0, 3, 40)
    metrics, start = TokenMetrics(), 0
    for size in splits:
        part = slice(start, start + size)
        start += size
        own, g, a, w, r, e = tensors(
            *(array[part] for array in (learner, generator, advantages, weights, reference, entropy))
        )
        metrics.add(grpo_loss(own, g, a, w, clip=0.2, beta=0.1, reference_logprobs=r), own, g, e)
    ratio = np.exp(learner - generator)
    clipped = ((ratio > 1.2) & (advantages > 0)) | ((ratio < 0.8) & (advantages < 0))
    difference = reference - learner
    assert metrics.finite()
    assert metrics.result() == pytest.approx(
        {
            "loss": reference_loss(learner, generator, advantages, weights, (0.2, 0.1, reference)),
            "kl": (np.exp(difference) - difference - 1).mean(),
            "entropy": entropy.mean(),
            "clip_fraction": clipped.mean(),
            "ratio_mean": ratio.mean(),
            "ratio_max": ratio.max(),
            "ess": ratio.sum() ** 2 / (40 * (ratio**2).sum()),
            "logprob_gap_mean": np.abs(learner - generator).mean(),
            "logprob_gap_max": np.abs(learner - generator).max(),
        },
        rel=1e-9,
    )
    assert 0 < clipped.mean() < 1


def test_without_a_reference_there_is_no_kl_and_equal_policies_have_full_sample_size():
    metrics = TokenMetrics()
    (own, a, w) = tensors([-1.0, -2.0], [1.0, -1.0], [0.5, 0.5])
    metrics.add(grpo_loss(own, own, a, w, clip=0.2), own, own, torch.zeros(2))
    result = metrics.result()
    assert result["kl"] is None
    assert (result["ess"], result["ratio_mean"], result["logprob_gap_max"]) == (1.0, 1.0, 0.0)


def test_a_loss_that_is_no_number_is_noticed():
    metrics = TokenMetrics()
    (own, a, w) = tensors([-1.0, float("nan")], [1.0, -1.0], [0.5, 0.5])
    metrics.add(grpo_loss(own, own, a, w, clip=0.2), own, own, torch.zeros(2))
    assert not metrics.finite()
