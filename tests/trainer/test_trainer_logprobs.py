"""Log-probabilities of several architectures, whole and in parts, against the full log-softmax in float64."""

import numpy as np
import pytest
import torch
from device_under_test import DEVICE
from learner_factory import ARCHITECTURES, TEMPERATURE, VOCABULARY, random_groups, random_model
from transformers import AutoConfig, AutoModelForCausalLM

from trainer.batch import Trajectory, micro_batch, micro_batches, trajectories
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
                model(batch.input_ids[row : row + 1, : column + 1]).logits[0, -1].double().cpu().numpy()
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
    return micro_batches(trajectories(random_groups(count=count), config()), tokens, 1, DEVICE)


@pytest.mark.parametrize("logits_bytes", [2**28, PART_OF_TWO_TOKENS])
def test_scores_are_those_of_every_sequence_alone(config, architecture, logits_bytes):
    model = random_model(architecture).to(DEVICE)
    exact = random_model(architecture).to(DEVICE)
    if architecture != "qwen3_moe":  # its experts are multiplied in float32 at most
        exact = exact.double()
    token_logprobs = TokenLogprobs(model, logits_bytes)
    assert token_logprobs.plain_head == (architecture not in AFTER_THE_HEAD)
    for batch in batches_of(config, tokens=60, count=1):
        with torch.no_grad():
            logprobs, entropy = token_logprobs(batch, TEMPERATURE)
        wanted_logprobs, wanted_entropy = exact_scores(exact, batch)
        assert wanted_logprobs.std() > 0.2  # the logits are far enough apart to notice a scale
        assert logprobs.cpu().numpy() == pytest.approx(wanted_logprobs, abs=2e-4)
        assert entropy.cpu().numpy() == pytest.approx(wanted_entropy, abs=2e-4)


@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
def test_parts_give_the_values_and_gradients_of_the_whole_without_keeping_logits(config, name):
    [batch] = batches_of(config, tokens=10_000)
    found = []
    for logits_bytes in (2**28, PART_OF_TWO_TOKENS):
        model = random_model(name).to(DEVICE)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, kept=kept: (kept.append(t), t)[1], lambda t: t
        ):
            logprobs, entropy = TokenLogprobs(model, logits_bytes)(batch, TEMPERATURE)
        (logprobs * torch.linspace(-1, 1, len(logprobs), device=DEVICE)).sum().backward()
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
    model = random_model(architecture).to(DEVICE)
    token_logprobs = TokenLogprobs(model)
    [batch] = batches_of(config, tokens=10_000)
    with torch.no_grad():
        before, _ = token_logprobs(batch, 1.0)
        batch.input_ids[batch.input_ids == 1] = 77
        after, _ = token_logprobs(batch, 1.0)
    assert torch.allclose(before, after, atol=1e-6)


def head_gradient(parts, compute_dtype):
    """Of the vocabulary's weights, over 2,048 tokens."""
    vocabulary, tokens = 4096, 2048
    torch.manual_seed(0)
    settings = {**ARCHITECTURES["llama"], "hidden_size": 256, "vocab_size": vocabulary}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **settings)).to(DEVICE)
    sequences = [
        Trajectory([1, *torch.randint(2, vocabulary, (128,)).tolist()], 1, [-1.0] * 128, 1.0)
        for _ in range(tokens // 128)
    ]
    token_logprobs = TokenLogprobs(model, logits_bytes=4 * vocabulary * tokens // parts)
    with torch.autocast(DEVICE.type, torch.bfloat16, enabled=compute_dtype == "bfloat16"):
        logprobs, _ = token_logprobs(micro_batch(sequences, 1, DEVICE), 1.0)
    (logprobs * torch.linspace(-1, 1, tokens, device=DEVICE)).sum().backward()
    return model.lm_head.weight.grad


def test_in_bfloat16_the_heads_gradient_is_about_as_near_in_parts_as_whole():
    """Parts are added in bfloat16, since autocast keeps one copy of the weights for all of them."""
    exact = head_gradient(1, "float32")
    off = [(head_gradient(parts, "bfloat16") - exact).norm() / exact.norm() for parts in (1, 16)]
    assert 0.001 < off[0] < off[1] < 2 * off[0] < 0.02
