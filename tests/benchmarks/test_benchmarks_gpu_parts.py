"""What the benchmark for GPUs is made of."""

import asyncio
import json
import math
from dataclasses import asdict
from statistics import fmean

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.gpu.flops import Work, model_flops, peak_tflops
from benchmarks.gpu.lengths import DrawnLengths, LengthDistribution
from benchmarks.gpu.model import QWEN3_1_7B, TINY, write_model
from benchmarks.gpu.reward import by_hash
from trainer.engine.protocol import Completion, GenerationAborted, GenerationError, GenerationRequest
from trainer.errors import EngineError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(TINY, tmp_path_factory.mktemp("models") / "tiny")


def test_the_large_one_has_the_parameters_of_qwen3_1_7b():
    """As its model card has them: 1.7B, 1.4B of them not in the embedding."""
    assert QWEN3_1_7B.layer_parameters == pytest.approx(1.4e9, rel=0.01)
    assert QWEN3_1_7B.layer_parameters + QWEN3_1_7B.head_parameters == pytest.approx(1.7e9, rel=0.02)


def test_the_model_is_what_its_architecture_says(folder):
    matrices = [tensor for tensor in load_file(folder / "model.safetensors").values() if tensor.dim() == 2]
    assert sum(tensor.numel() for tensor in matrices) == TINY.layer_parameters + TINY.head_parameters
    assert {tensor.dtype for tensor in matrices} == {torch.bfloat16}
    assert all(0.015 < float(tensor.float().std()) < 0.025 for tensor in matrices)


def test_a_model_that_is_there_is_not_written_again(folder):
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert write_model(TINY, folder) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert not [path for path in folder.parent.iterdir() if path != folder]


def test_every_token_has_a_text_and_none_ends_one(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == TINY.vocabulary
    assert tokenizer.eos_token_id is None
    for name in ("config.json", "generation_config.json"):
        assert json.loads((folder / name).read_bytes()).get("eos_token_id") is None
    texts = [tokenizer.decode([token]) for token in range(TINY.vocabulary)]
    assert all(texts)
    assert len(set(texts[512:])) == TINY.vocabulary - 512


def test_prompts_are_encoded_as_by_the_built_in_tokenizer(folder):
    ours, built_in = (AutoTokenizer.from_pretrained(path) for path in (folder, "trainer/builtin/model"))
    for text in ("Question: Tom has 512 w512 nuts.\nAnswer:", "w600 w1023 é"):
        assert ours.encode(text) == built_in.encode(text)


@pytest.mark.parametrize("tokens", [1, 7, 64])
def test_model_flops_are_those_that_torch_counts(folder, tokens):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with FlopCounterMode(display=False) as counter:
        model(torch.randint(0, TINY.vocabulary, (1, tokens))).logits.sum().backward()
    work = Work(tokens=tokens, completion_tokens=tokens, mean_length_tokens=tokens)
    # Beyond ours are the angles of the rotary embedding, one product a token and frequency.
    assert model_flops(TINY, work) == pytest.approx(counter.get_total_flops(), rel=1e-3)


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 9999", None),
    ],
)
def test_peaks_by_the_names_that_cuda_gives(device, peak):
    assert peak_tflops(device) == peak


def test_lengths_are_log_normal_and_cut():
    lengths = LengthDistribution(median_tokens=200, sigma=0.5)
    drawn = np.array([lengths.draw(seed, 512) for seed in range(4000)])
    expected = stats.lognorm(s=0.5, scale=200)
    assert fmean(drawn == 512) == pytest.approx(expected.sf(511.5), abs=0.01)
    assert drawn.min() >= 1
    uncut = np.array([lengths.draw(seed, 10**9) for seed in range(4000)])
    # Rounding to whole tokens is far below what 4000 draws can show.
    assert stats.kstest(uncut, expected.cdf).pvalue > 0.01
    assert [lengths.draw(seed, 512) for seed in range(9)] == drawn[:9].tolist()


def test_rewards_are_spread_evenly_and_differ_by_text():
    rewards = [by_hash(f"text {number}", "1", {}) for number in range(2000)]
    assert len(set(rewards)) == 2000
    assert stats.kstest(rewards, "uniform").pvalue > 0.01


class FakeEngine:
    """Gives each completion the tokens it asks for; what is in `outcomes` it raises instead, by seed."""

    description, takes_tensors = "fake", True

    def __init__(self, outcomes=()):
        self.outcomes = dict(outcomes)
        self.requests = []

    async def generate(self, request):
        self.requests.append(request)
        if request.seed in self.outcomes:
            raise self.outcomes[request.seed]
        tokens = [7] * request.max_tokens
        return [Completion(tokens, [-1.0] * len(tokens), True, 3, 4) for _ in range(request.n)]


REQUEST = GenerationRequest([1, 2, 3], n=6, max_tokens=30, temperature=0.7, seed=100, stop=("x",))
LENGTHS = LengthDistribution(median_tokens=20, sigma=0.8)


def sample(engine, request=REQUEST):
    drawn = DrawnLengths(engine, LENGTHS, max_completion_tokens=30)
    return drawn, asyncio.run(drawn.generate(request))


def test_a_group_is_asked_for_one_completion_at_a_time_each_with_its_own_length():
    engine = FakeEngine()
    drawn, completions = sample(engine)
    asked = [LENGTHS.draw(seed, 30) for seed in range(100, 106)]
    assert len(set(asked)) > 2 and 30 in asked
    assert [len(completion.token_ids) for completion in completions] == asked
    assert [completion.truncated for completion in completions] == [tokens == 30 for tokens in asked]
    assert [(request.seed, request.n) for request in engine.requests] == [(100 + i, 1) for i in range(6)]
    for request in engine.requests:
        kept = {"n": 1, "seed": request.seed, "max_tokens": request.max_tokens}
        assert asdict(request) == asdict(REQUEST) | kept
    assert [(c.prompt, c.asked, c.got) for c in drawn.sampled] == [(3, tokens, tokens) for tokens in asked]
    assert drawn.takes_tensors and drawn.description == "fake"


def test_what_asks_for_less_is_passed_on_as_it_is():
    engine = FakeEngine()
    probe = GenerationRequest([1], n=4, max_tokens=29, temperature=1.0, seed=0)
    drawn, _ = sample(engine, probe)
    assert engine.requests == [probe]
    assert not drawn.sampled


def test_an_aborted_group_hands_back_what_all_its_completions_had():
    partial = Completion([5], [-1.0], False, 3, 3)
    engine = FakeEngine({102: GenerationAborted([partial])})
    with pytest.raises(GenerationAborted) as aborted:
        sample(engine)
    lengths = [len(completion.token_ids) for completion in aborted.value.completions]
    assert lengths[2] == 1 and len(lengths) == 6
    assert math.prod(lengths) > 1


def test_an_engine_that_is_gone_counts_for_more_than_a_request_that_failed():
    engine = FakeEngine({100: GenerationError("one"), 103: EngineError("gone")})
    with pytest.raises(EngineError, match="gone"):
        sample(engine)
