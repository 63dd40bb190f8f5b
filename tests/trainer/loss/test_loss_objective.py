"""Every loss with every correction against its formula in plain floats: value, gradient and what was cut."""

import pytest
import torch
from loss_formulas import (
    MAX_COMPLETION_TOKENS,
    completion,
    step_gradient,
    step_loss,
    token_kls,
    token_policy_losses,
    token_weights,
    tokens,
)

from trainer.loss.objective import objective
from trainer.settings import CorrectionSettings, LossSettings

LOSSES = ["grpo", "dr_grpo", "dapo", "gspo", "cispo"]
CORRECTIONS = ["token_tis", "sequence_tis", "icepop", "decoupled"]
PAIRS = [
    *[(loss, correction) for loss in ("grpo", "dr_grpo", "dapo") for correction in CORRECTIONS],
    ("gspo", "sequence_tis"),
    *[("cispo", correction) for correction in CORRECTIONS],
]

# For either sign of the advantage: tokens on both sides of the clip and inside it, completions whose mean
# ratio is on both sides of it, products of weights above and below the cap, single weights above it and on
# both sides of the band; lengths from 1 to 5, and an advantage of 0. No ratio lies on a bound.
STEP = [
    completion(1.3, [1.5, 0.6, 1.1, 0.93], [1.0, 1.2, 0.9, 1.05], [1.0, 0.7, 1.4, 2.0]),
    completion(-0.7, [1.5, 0.6, 1.1], [0.95, 1.1, 1.02], [0.5, 1.1, 1.3]),
    completion(0.0, [1.6, 0.4], [1.3, 0.3], [1.5, 0.8]),
    completion(0.9, [1.6], [1.1], [1.2]),
    completion(-1.1, [1.4, 1.5], [1.2, 1.1], [0.9, 3.0]),
    completion(0.8, [0.5, 0.7, 0.6], [0.9, 0.8, 0.95], [1.1, 0.6, 1.0]),
    completion(-0.4, [0.7, 0.5, 0.6, 0.9, 0.65], [1.0, 0.9, 1.1, 0.8, 1.02], [1.0, 1.0, 0.4, 1.8, 1.3]),
    completion(0.6, [1.05, 0.98, 1.25], [3.0, 0.4, 7.0], [1.3, 0.9, 0.6]),
    completion(-0.5, [0.97, 1.04, 0.75], [2.5, 6.0, 0.3], [0.8, 1.5, 2.1]),
]
NONE = CorrectionSettings()


def compare(completions, loss, correction):
    given = tokens(completions)
    result = objective(given, loss, correction, MAX_COMPLETION_TOKENS)
    value = result.total / result.units
    assert value.item() == pytest.approx(step_loss(completions, loss, correction), rel=1e-12)
    value.backward()
    slopes = step_gradient(completions, loss, correction)
    assert given.learner_logprobs.grad.tolist() == pytest.approx(slopes, rel=1e-6, abs=1e-9)
    clipped = [c for item in completions for c in token_policy_losses(item, item, loss, correction)[1]]
    assert result.clipped.tolist() == clipped
    assert {True, False} == set(clipped)
    return result


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("beta", [0.0, 0.07])
@pytest.mark.parametrize("clip_high", [None, 0.45, 0.08])
def test_a_loss_is_its_formula(name, beta, clip_high):
    loss = LossSettings(name=name, clip=0.2, clip_high=clip_high, beta=beta)
    result = compare(STEP, loss, NONE)
    assert result.corrected is None
    assert result.kl.tolist() == pytest.approx([kl for item in STEP for kl in token_kls(item)])
    assert not result.kl.requires_grad


@pytest.mark.parametrize(("name", "correction"), PAIRS)
@pytest.mark.parametrize("beta", [0.0, 0.07])
def test_a_corrected_loss_is_its_formula(name, correction, beta):
    correction = CorrectionSettings(name=correction, cap=1.15, low=0.5, high=2.0)
    result = compare(STEP, LossSettings(name=name, clip=0.2, clip_high=0.3, beta=beta), correction)
    corrected = [cut for item in STEP for cut in token_weights(item, correction)[1]]
    assert result.corrected.tolist() == corrected
    assert any(corrected) == (correction.name != "decoupled")
    assert not all(corrected)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_a_weight_is_a_constant_of_the_loss(correction):
    given = tokens(STEP)
    given.generator_logprobs.requires_grad_()
    result = objective(given, LossSettings(), CorrectionSettings(name=correction), MAX_COMPLETION_TOKENS)
    result.total.backward()
    assert given.learner_logprobs.grad.any()
    assert given.generator_logprobs.grad is None


@pytest.mark.parametrize("name", ["grpo", "gspo"])
def test_clipping_takes_the_gradient_only_where_the_ratio_would_be_pushed_further_out(name):
    cases = [(1.5, 1.0), (1.5, -1.0), (0.5, 1.0), (0.5, -1.0), (1.1, 1.0), (0.9, -1.0)]
    given = tokens([completion(advantage, [ratio], [1.0]) for ratio, advantage in cases])
    result = objective(given, LossSettings(name=name, clip=0.2), NONE, MAX_COMPLETION_TOKENS)
    result.total.backward()
    assert result.clipped.tolist() == [True, False, False, True, False, False]
    assert given.learner_logprobs.grad.tolist() == pytest.approx([0.0, 1.5, -0.5, 0.0, -1.1, 0.9])


def test_cispo_limits_the_weight_of_a_token_and_never_takes_its_gradient():
    cases = [(1.5, 1.0), (1.5, -1.0), (0.5, 1.0), (0.5, -1.0), (1.1, 1.0), (1.5, 0.0)]
    given = tokens([completion(advantage, [ratio], [1.0]) for ratio, advantage in cases])
    result = objective(given, LossSettings(name="cispo", clip=0.2), NONE, MAX_COMPLETION_TOKENS)
    result.total.backward()
    assert result.clipped.tolist() == [True, True, True, True, False, False]
    assert given.learner_logprobs.grad.tolist() == pytest.approx([-1.2, 1.2, -0.8, 0.8, -1.1, 0.0])


def test_units_are_what_the_paper_takes_the_mean_over():
    count = sum(len(item.learner) for item in STEP)
    units = {
        name: objective(tokens(STEP), LossSettings(name=name), NONE, MAX_COMPLETION_TOKENS).units
        for name in LOSSES
    }
    assert units == {"grpo": 9, "dr_grpo": 9, "gspo": 9, "dapo": count, "cispo": count}


def test_a_completion_without_tokens_counts_in_the_mean_and_adds_nothing():
    alone, given = tokens(STEP[:2]), tokens([*STEP[:2], completion(1.0, [], [], [])])
    assert given.completions == 3
    for name in LOSSES:
        loss = LossSettings(name=name)
        with_empty = objective(given, loss, NONE, MAX_COMPLETION_TOKENS)
        without = objective(alone, loss, NONE, MAX_COMPLETION_TOKENS)
        assert with_empty.total.item() == without.total.item()
        assert with_empty.units - without.units == (0 if name in ("dapo", "cispo") else 1)


def test_a_kl_penalty_without_a_reference_is_refused():
    given = tokens([completion(1.0, [1.0], [1.0])])
    with pytest.raises(ValueError, match="reference_logprobs"):
        objective(given, LossSettings(beta=0.1), NONE, MAX_COMPLETION_TOKENS)
    result = objective(given, LossSettings(), NONE, MAX_COMPLETION_TOKENS)
    assert result.kl is None
    assert torch.isfinite(result.total)
