"""Log-probabilities of several architectures, whole and in parts, against the full log-softmax in float64."""

import numpy as np
import pytest
import torch
from learner_factory import ARCHITECTURES, CPU, TEMPERATURE, VOCABULARY, random_groups, random_model

from trainer.batch import micro_batches, trajectories
from trainer.logprobs import TokenLogprobs

# What these do to the logits after the head; all others are decoder and head.
AFTER_THE_HEAD = {"gemma2", "granite", "cohere"}
PART_OF_TWO_TOKENS = 2 * VOCABULARY * 4


def exact_scores(model, batch):
    """Log-probability and entropy of every token, by a float64 copy of the model, unpadded."""
    result = []
    length = batch.input_ids.shape[1]
    for position, target in zip(batch.positions.tolist(), batch.targets.tolist(), strict=True):
        row, column = divmod(position, length)
        with torch.no_grad():
            logits = (
                model(batch.input_ids[row : row + 1, : column + 1]).logits[0, -1].double().numpy()
                / TEMPERATURE
            )
        p = np.exp(logits - logits.max())
        p /= p.sum()
        result.append((np.log(p[target]), -(p * np.log(p)).sum()))
    return np.array(result).T


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


def batches_of(config, tokens, count=2):
    return micro_batches(trajectories(random_groups(count=count), config()), tokens, 1, CPU)


@pytest.mark.parametrize("logits_bytes", [2**28, PART_OF_TWO_TOKENS])
def test_scores_are_those_of_every_sequence_alone(config, architecture, logits_bytes):
    model = random_model(architecture)
    exact = random_model(architecture)
    if architecture != "qwen3_moe":  # its experts are multiplied in float32 at most
        exact = exact.double()
    token_logprobs = TokenLogprobs(model, logits_bytes)
    assert token_logprobs.plain_head == (architecture not in AFTER_THE_HEAD)
    for batch in batches_of(config, tokens=60, count=1):
        with torch.no_grad():
            logprobs, entropy = token_logprobs(batch, TEMPERATURE)
        wanted_logprobs, wanted_entropy = exact_scores(exact, batch)
        assert wanted_logprobs.std() > 0.2  # the logits are far enough apart to notice a scale
        assert logprobs.numpy() == pytest.approx(wanted_logprobs, abs=2e-4)
        assert entropy.numpy() == pytest.approx(wanted_entropy, abs=2e-4)


@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
def test_parts_give_the_values_and_gradients_of_the_whole_without_keeping_logits(config, name):
    [batch] = batches_of(config, tokens=10_000)
    found = []
    for logits_bytes in (2**28, PART_OF_TWO_TOKENS):
        model = random_model(name)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: (kept.append(t), t)[1], lambda t: t
        ):
            logprobs, entropy = TokenLogprobs(model, logits_bytes)(batch, TEMPERATURE)
        (logprobs * torch.linspace(-1, 1, len(logprobs))).sum().backward()
        scored = [t for t in kept if t.shape == (len(batch.targets), VOCABULARY) and t.dtype == torch.float32]
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        found.append((logprobs.detach(), entropy, gradient, len(scored)))
    whole, parts = found
    assert torch.allclose(parts[0], whole[0], atol=1e-5)
    assert torch.allclose(parts[1], whole[1], atol=1e-5)
    assert torch.allclose(parts[2], whole[2], rtol=1e-4, atol=1e-5 * whole[2].abs().max())
    assert whole[3] > 0
    assert parts[3] == 0


def test_what_lies_to_the_right_of_a_sequence_changes_nothing(config, architecture):
    model = random_model(architecture)
    token_logprobs = TokenLogprobs(model)
    [batch] = batches_of(config, tokens=10_000)
    with torch.no_grad():
        before, _ = token_logprobs(batch, 1.0)
        batch.input_ids[batch.input_ids == 1] = 77
        after, _ = token_logprobs(batch, 1.0)
    assert torch.allclose(before, after, atol=1e-6)
