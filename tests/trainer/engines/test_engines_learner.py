"""Engine and learner see the same weights, and compute nearly the same with them."""

import pytest
import torch
from device_under_test import DEVICE
from safetensors.torch import save_file

from trainer.engine.checksum import checksums
from trainer.learner import Learner


@pytest.fixture
def learner(config, tiny_model):
    return Learner(config(model=str(tiny_model)), DEVICE)


def test_checksums_are_those_of_what_the_learner_hands_over(subject, learner, tmp_path):
    weights = learner.weights(torch.bfloat16)
    save_file(weights, tmp_path / "weights.safetensors")
    expected = checksums(weights)
    assert subject.load(tmp_path / "weights.safetensors", 1) == expected


def test_logprobs_of_vllm_in_bfloat16_and_of_the_learner_in_float32_differ_by_rounding_alone(
    vllm_subject, learner, tmp_path, prompt
):
    save_file(learner.weights(torch.bfloat16), tmp_path / "weights.safetensors")
    vllm_subject.load(tmp_path / "weights.safetensors", 1)
    gaps = []
    for completion in vllm_subject.generate(prompt, n=64, max_tokens=64, seed=0):
        found = torch.tensor(completion.logprobs)
        gaps.append(found - torch.tensor(learner.logprobs(prompt, completion.token_ids)))
    gap = torch.cat(gaps)
    # Measured over 3,838 tokens: 0.0072 and 0.044 nats, and 0.0002 on average with sign. 2^-8 is 0.004.
    assert len(gap) > 3000
    assert gap.abs().mean() < 0.015
    assert gap.abs().quantile(0.999) < 0.09
    assert abs(gap.mean()) < 0.001
