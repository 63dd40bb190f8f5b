"""Float32 at its edges: nothing overflows into a nan, and a nan that was there is not lost."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from loss_formulas import MAX_COMPLETION_TOKENS, completion, tokens

from trainer.loss.kl import k3
from trainer.loss.objective import objective
from trainer.settings import CorrectionSettings, LossSettings

LOSSES = ["grpo", "dr_grpo", "dapo", "gspo", "cispo"]
CORRECTIONS = ["none", "token_tis", "sequence_tis", "icepop", "decoupled"]


def far_apart(advantage, log_ratio, log_weight, count=500):
    """A completion whose learner, proximal and generator differ by so much at every token, in float32."""
    one = completion(advantage, [1.0] * count, [1.0] * count)
    batch = tokens([one], torch.float32)
    proximal = batch.learner_logprobs.detach() - log_ratio
    return replace(batch, proximal_logprobs=proximal, generator_logprobs=proximal - log_weight)


def evaluate(batch, loss, correction):
    result = objective(batch, loss, correction, MAX_COMPLETION_TOKENS)
    (gradient,) = torch.autograd.grad(result.total, batch.learner_logprobs)
    return result, gradient


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("correction", CORRECTIONS)
def test_ratios_and_products_over_500_tokens_stay_finite(name, correction):
    distances = (-200.0, 0.0, 5.0, 200.0)
    for advantage, log_ratio, log_weight in itertools.product((1.0, -1.0, 0.0), distances, distances):
        batch = far_apart(advantage, log_ratio, log_weight)
        result, gradient = evaluate(batch, LossSettings(name=name), CorrectionSettings(name=correction))
        assert torch.isfinite(result.total)
        assert torch.isfinite(gradient).all()
        assert advantage != 0 or (result.total == 0 and not gradient.any())


def test_a_product_too_large_for_a_float_is_cut_off_at_the_cap_and_one_too_small_is_nothing():
    loss, correction = LossSettings(), CorrectionSettings(name="sequence_tis", cap=2.0)
    huge, gradient = evaluate(far_apart(1.0, 0.0, 5.0), loss, correction)
    assert huge.total.item() == pytest.approx(-2)
    assert gradient.sum().item() == pytest.approx(-2)
    assert huge.corrected.all()
    tiny, gradient = evaluate(far_apart(1.0, 0.0, -5.0), loss, correction)
    assert (tiny.total.item(), gradient.abs().max().item()) == (0, 0)
    assert not tiny.corrected.any()


def test_decoupled_says_where_a_weight_was_cut_off_for_the_float():
    result, _ = evaluate(far_apart(1.0, 0.0, 30.0), LossSettings(), CorrectionSettings(name="decoupled"))
    assert result.corrected.all()
    assert result.total.item() == pytest.approx(-math.exp(20), rel=1e-5)


@pytest.mark.parametrize("field", ["learner_logprobs", "generator_logprobs", "advantages"])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("correction", CORRECTIONS)
def test_a_nan_that_came_in_is_seen_in_the_loss(field, name, correction):
    batch = far_apart(1.0, 0.1, 0.1, count=3)
    values = getattr(batch, field).detach().clone()
    values[1] = math.nan
    broken = replace(batch, **{field: values})
    result = objective(broken, LossSettings(name=name), CorrectionSettings(name=correction), 8)
    assert torch.isnan(result.total)


def test_k3_is_exact_near_the_reference_and_finite_far_from_it():
    near = torch.tensor([1e-4, -1e-4, 1e-3], dtype=torch.float32)
    exact = [math.expm1(d) - d for d in near.double().tolist()]
    assert k3(torch.zeros(3), near).tolist() == pytest.approx(exact, rel=1e-3)
    learner = torch.tensor([-300.0, -0.1], requires_grad=True)
    far = k3(learner, torch.tensor([-0.1, -300.0]))
    far.sum().backward()
    assert far[0].item() == pytest.approx(math.exp(20), rel=1e-5)
    assert far[1].item() == pytest.approx(299.9 - 1)
    assert learner.grad.tolist() == pytest.approx([0, 1])
