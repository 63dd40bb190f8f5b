"""What must hold between losses, corrections and ways to split a step, whatever the numbers."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_formulas import MAX_COMPLETION_TOKENS, completion, tokens

from trainer.loss.kl import k3
from trainer.loss.objective import objective
from trainer.settings import CorrectionSettings, LossSettings

LOSSES = ["grpo", "dr_grpo", "dapo", "gspo", "cispo"]
CORRECTIONS = ["token_tis", "sequence_tis", "icepop", "decoupled"]
NONE = CorrectionSettings()

law = settings(max_examples=60, deadline=None)

ratios = st.floats(0.3, 3.0)
ones = st.just(1.0)
some = st.integers(1, 6)
# No bound that a drawn ratio could lie on, where rounding would decide what is clipped.
clips = st.sampled_from([0.0713, 0.2137, 0.4871])


def completions_of(moved=ratios, mismatch=ratios, lengths=some):
    """Steps of up to six completions."""

    @st.composite
    def one(draw):
        count = draw(lengths)
        values = [
            draw(st.lists(source, min_size=count, max_size=count)) for source in (moved, mismatch, ratios)
        ]
        return completion(draw(st.floats(-3, 3)), *values)

    return st.lists(one(), min_size=1, max_size=6)


def settings_of(names=LOSSES):
    return st.builds(
        LossSettings,
        name=st.sampled_from(names),
        clip=clips,
        clip_high=st.none() | clips,
        beta=st.sampled_from([0.0, 0.1]),
    )


def evaluate(batch, loss, correction=NONE, limit=MAX_COMPLETION_TOKENS):
    """A step's loss and its gradient in the learner's log-probabilities, in one micro-batch."""
    result = objective(batch, loss, correction, limit)
    value = result.total / result.units
    (gradient,) = torch.autograd.grad(value, batch.learner_logprobs)
    return value.item(), gradient.tolist(), result


def agree(first, second, scale=1.0):
    assert first[0] == pytest.approx(scale * second[0], rel=1e-9, abs=1e-9)
    assert first[1] == pytest.approx([scale * slope for slope in second[1]], rel=1e-9, abs=1e-9)


@law
@given(completions_of(), settings_of(), st.sampled_from(["none", *CORRECTIONS]), st.data())
def test_a_step_is_the_same_in_any_micro_batches(step, loss, name, data):
    correction = CorrectionSettings(name=name)
    bins = data.draw(st.lists(st.integers(0, 2), min_size=len(step), max_size=len(step)))
    whole_value, whole_gradient, _ = evaluate(tokens(step), loss, correction)
    total, units, gradient = 0.0, 0.0, {}
    for number in set(bins):
        batch = tokens([item for item, where in zip(step, bins, strict=True) if where == number])
        result = objective(batch, loss, correction, MAX_COMPLETION_TOKENS)
        (slopes,) = torch.autograd.grad(result.total, batch.learner_logprobs)
        total, units, gradient[number] = total + result.total.item(), units + result.units, slopes.tolist()
    assert total / units == pytest.approx(whole_value, rel=1e-9, abs=1e-9)
    split = [
        gradient[number].pop(0) / units for item, number in zip(step, bins, strict=True) for _ in item.learner
    ]
    assert split == pytest.approx(whole_gradient, rel=1e-9, abs=1e-9)


@law
@given(completions_of(), settings_of(), st.sampled_from(["none", *CORRECTIONS]), st.randoms())
def test_the_order_of_tokens_does_not_matter(step, loss, name, random):
    batch = tokens(step)
    order = list(range(len(batch.advantages)))
    random.shuffle(order)
    fields = ("generator_logprobs", "proximal_logprobs", "reference_logprobs", "advantages", "completion")
    shuffled = replace(
        batch,
        learner_logprobs=batch.learner_logprobs.detach()[order].requires_grad_(),
        **{field: getattr(batch, field)[order] for field in fields},
    )
    value, gradient, _ = evaluate(batch, loss, CorrectionSettings(name=name))
    agree(
        evaluate(shuffled, loss, CorrectionSettings(name=name)), (value, [gradient[index] for index in order])
    )


@law
@given(completions_of(moved=ones, mismatch=ones), st.floats(0.05, 0.5))
def test_on_policy_each_loss_is_the_policy_gradient_in_its_own_mean(step, clip):
    count, lengths = sum(len(item.learner) for item in step), [len(item.learner) for item in step]
    means = {
        "grpo": [1 / (len(step) * length) for length in lengths],
        "gspo": [1 / (len(step) * length) for length in lengths],
        "dr_grpo": [1 / (len(step) * MAX_COMPLETION_TOKENS)] * len(step),
        "dapo": [1 / count] * len(step),
        "cispo": [1 / count] * len(step),
    }
    for name in LOSSES:
        _, gradient, result = evaluate(tokens(step), LossSettings(name=name, clip=clip))
        expected = [
            -item.advantage * mean for item, mean in zip(step, means[name], strict=True) for _ in item.learner
        ]
        assert gradient == pytest.approx(expected, abs=1e-9)
        assert not result.clipped.any()


@law
@given(completions_of(lengths=st.just(1)), settings_of(["gspo"]))
def test_gspo_is_grpo_where_every_completion_is_one_token(step, loss):
    one = evaluate(tokens(step), loss)
    other = evaluate(tokens(step), loss.model_copy(update={"name": "grpo"}))
    agree(one, other)
    assert one[2].clipped.equal(other[2].clipped)


@law
@given(completions_of(lengths=st.just(4)), settings_of(["dr_grpo", "dapo"]))
def test_where_every_completion_reaches_the_limit_all_means_are_grpos(step, loss):
    grpo = loss.model_copy(update={"name": "grpo"})
    agree(evaluate(tokens(step), loss, limit=4), evaluate(tokens(step), grpo, limit=4))


@law
@given(completions_of(), st.integers(1, 100))
def test_dr_grpo_is_divided_by_the_limit_and_not_by_the_length(step, limit):
    loss = LossSettings(name="dr_grpo", beta=0.1)
    agree(evaluate(tokens(step), loss, limit=limit), evaluate(tokens(step), loss, limit=1), scale=1 / limit)


@law
@given(completions_of(mismatch=ones), settings_of(), st.sampled_from(CORRECTIONS))
def test_where_the_engine_is_the_policy_before_the_step_corrections_change_nothing(step, loss, name):
    corrected = evaluate(tokens(step), loss, CorrectionSettings(name=name))
    agree(corrected, evaluate(tokens(step), loss))
    assert not corrected[2].corrected.any()


@law
@given(completions_of(), st.sampled_from(["grpo", "dr_grpo", "dapo"]))
def test_decoupled_is_the_plain_ratio_where_nothing_is_clipped(step, name):
    loss = LossSettings(name=name, clip=0.99, clip_high=100.0)
    agree(evaluate(tokens(step), loss, CorrectionSettings(name="decoupled")), evaluate(tokens(step), loss))


@law
@given(completions_of(), settings_of(["grpo", "dapo"]))
def test_caps_and_bands_that_reach_no_weight_leave_decoupled(step, loss):
    plain = evaluate(tokens(step), loss, CorrectionSettings(name="decoupled"))
    for correction in (
        CorrectionSettings(name="token_tis", cap=100.0),
        CorrectionSettings(name="icepop", low=0.01, high=100.0),
    ):
        agree(evaluate(tokens(step), loss, correction), plain)


@law
@given(completions_of(lengths=st.just(1)), settings_of(["grpo", "dapo"]))
def test_sequence_tis_is_token_tis_where_every_completion_is_one_token(step, loss):
    sequence, token = (
        evaluate(tokens(step), loss, CorrectionSettings(name=name)) for name in ("sequence_tis", "token_tis")
    )
    agree(sequence, token)
    assert sequence[2].corrected.equal(token[2].corrected)


@law
@given(completions_of(), settings_of(["grpo", "dr_grpo", "dapo", "gspo"]))
def test_clipping_only_ever_makes_the_loss_worse(step, loss):
    unclipped = loss.model_copy(update={"clip": 1.0, "clip_high": 1e6})
    assert evaluate(tokens(step), loss)[0] >= evaluate(tokens(step), unclipped)[0] - 1e-9


@law
@given(st.lists(st.floats(0.05, 1), min_size=2, max_size=6), st.data())
def test_the_mean_of_k3_over_the_policy_is_the_divergence(masses, data):
    others = data.draw(st.lists(st.floats(0.05, 1), min_size=len(masses), max_size=len(masses)))
    policy = [mass / sum(masses) for mass in masses]
    reference = [mass / sum(others) for mass in others]
    estimates = k3(torch.tensor(policy).double().log(), torch.tensor(reference).double().log()).tolist()
    divergence = sum(p * math.log(p / q) for p, q in zip(policy, reference, strict=True))
    assert sum(p * k for p, k in zip(policy, estimates, strict=True)) == pytest.approx(divergence, abs=1e-5)
    assert min(estimates) >= 0
