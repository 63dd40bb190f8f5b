"""Sequences packed into one row give what they give alone, and see nothing of each other."""

import random
import shutil

import pytest
import torch
from device_under_test import DEVICE
from hypothesis import given, settings
from hypothesis import strategies as st
from learner_factory import (
    ARCHITECTURES,
    TEMPERATURE,
    gradients,
    largest_difference,
    learner_for,
    on_cpu,
    random_groups,
    random_model,
)
from strict_device import STRICT
from torch._dynamo.eval_frame import _debug_get_cache_entry_list
from torch.nn.attention.flex_attention import flex_attention
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM

from trainer.attention import attend_packed, packing_attentions
from trainer.batch import Trajectory, micro_batch, trajectories
from trainer.logprobs import LOGITS_BYTES, TokenLogprobs

WINDOW = 6  # the sequences are up to 34 tokens long
SMALL = ARCHITECTURES["llama"]
MODELS = {
    **{name: ARCHITECTURES[name] for name in ("llama", "qwen3", "qwen3_moe", "gpt2", "granite")},
    "gemma2": {**ARCHITECTURES["gemma2"], "sliding_window": WINDOW, "attn_logit_softcapping": 1.0},
    "gemma3_text": {**SMALL, "sliding_window": WINDOW, "query_pre_attn_scalar": 16},
    "mistral": {**SMALL, "sliding_window": WINDOW},
}
FLEX = ("qwen3", "llama", "mistral", "gemma2", "gemma3_text")


def model_of(name, attention="eager", seed=0):
    """Random weights whose logits are several nats apart, so that a wrong context shows."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(name, **MODELS[name]), attn_implementation=attention
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * (0.2 if parameter.ndim > 1 else 0.05))
    return model.to(DEVICE).eval()


def random_sequence(rng, length, prompt_tokens=1):
    """A trajectory of any tokens."""
    tokens = [rng.randrange(2, 500) for _ in range(length)]
    return Trajectory(tokens, prompt_tokens, [-1.0] * (length - prompt_tokens), 1.0)


def scored(model, sequences, packed):
    """Logprobs and entropies of the completions, and the gradient of a sum over them."""
    model.zero_grad()
    batch = micro_batch(sequences, 1, DEVICE, packed)
    logprobs, entropy = TokenLogprobs(model)(batch, TEMPERATURE)
    (logprobs * torch.linspace(-1, 1, len(logprobs), device=DEVICE)).sum().backward()
    gradient = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return logprobs.detach().cpu(), entropy.cpu(), on_cpu(gradient)


# Transformers' fused attention leaves Gemma 2's soft cap out. Flex attention has no backward pass on CPU.
@pytest.mark.parametrize(
    ("name", "attention"),
    [(name, "eager") for name in MODELS]
    + [(name, "sdpa") for name in MODELS if name != "gemma2"]
    + [(name, "flex_attention") for name in FLEX if DEVICE.type == "cuda"],
)
def test_packed_and_padded_agree_on_logprobs_entropies_and_gradients(config, name, attention):
    sequences = trajectories(random_groups(count=3), config())
    padded = scored(model_of(name), sequences, packed=False)
    packed = scored(model_of(name, attention), sequences, packed=True)
    assert packed[0].numpy() == pytest.approx(padded[0].numpy(), rel=1e-5, abs=2e-5)
    assert packed[1].numpy() == pytest.approx(padded[1].numpy(), rel=1e-5, abs=2e-5)
    assert largest_difference(packed[2], padded[2]) < 1e-5


@pytest.fixture(scope="module")
def windowed():
    return TokenLogprobs(model_of("mistral", "sdpa"))


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(3, 20), min_size=2, max_size=6), rng=st.randoms(use_true_random=False))
def test_no_token_sees_another_sequence(windowed, lengths, rng):
    def logprobs(of):
        with torch.no_grad():
            return windowed(micro_batch(of, 1, DEVICE, packed=True), 1.0)[0].split([n - 1 for n in lengths])

    sequences = [random_sequence(rng, length) for length in lengths]
    changed = rng.randrange(len(lengths))
    before = logprobs(sequences)
    sequences[changed] = random_sequence(rng, lengths[changed])
    for place, (one, other) in enumerate(zip(before, logprobs(sequences), strict=True)):
        assert place == changed or torch.allclose(one, other, rtol=0, atol=1e-6)


def flex_and_eager(model, sequences):
    """Logprobs of packed sequences by flex attention, which on CPU is forward only, and of the same
    padded by explicit attention."""
    token_logprobs = TokenLogprobs(model)
    with torch.no_grad():
        eager, _ = token_logprobs(micro_batch(sequences, 1, DEVICE), 1.0)
        model.set_attn_implementation("flex_attention")
        flex, _ = token_logprobs(micro_batch(sequences, 1, DEVICE, packed=True), 1.0)
    return flex.cpu(), eager.cpu()


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.skipif(DEVICE == STRICT, reason="the strict device cannot follow vmap")
@pytest.mark.parametrize("name", FLEX)
def test_flex_attention_has_the_mask_window_and_soft_cap_of_explicit_attention(config, name):
    sequences = trajectories(random_groups(count=3), config())
    with torch.compiler.set_stance("force_eager"):
        flex, eager = flex_and_eager(model_of(name), sequences)
    assert flex.numpy() == pytest.approx(eager.numpy(), rel=1e-5, abs=2e-5)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPU")
def test_flex_attention_compiles_twice_for_each_mask_whatever_the_lengths():
    torch.compiler.reset()
    rng = random.Random(0)
    model = model_of("gemma2")  # two masks: with and without a window
    compiled = []
    for count in (4, 4, 10, 14, 40, 25, 4):
        sequences = [random_sequence(rng, rng.randint(10, 60)) for _ in range(count)]
        flex, eager = flex_and_eager(model, sequences)
        assert flex.numpy() == pytest.approx(eager.numpy(), rel=1e-5, abs=2e-5)
        model.set_attn_implementation("eager")
        compiled.append(len(_debug_get_cache_entry_list(flex_attention.__code__)))
    assert compiled == [2, 2, 4, 4, 4, 4, 4]


@pytest.mark.parametrize("model", ["builtin:tiny", None])
@pytest.mark.parametrize("tokens", [1, 300, 10_000])
def test_a_learner_that_packs_takes_the_same_steps(config, monkeypatch, model, tokens):
    fields = {"model": model} if model else {}
    fields["learner"] = {"compute_dtype": "float32", "tokens_per_micro_batch": tokens}
    fields["loss"] = {"beta": 0.1}
    padded = learner_for(config, **fields)
    monkeypatch.setattr("trainer.learner.packing_attentions", lambda *_: ("sdpa",))
    packed = learner_for(config, **fields)
    for seed in range(2):
        groups = random_groups(seed=seed)
        wanted = padded.forward_backward(groups)
        found = packed.forward_backward(groups)
        assert found.keys() == wanted.keys()
        for key, made in found.items():
            assert made.advantage == wanted[key].advantage
            assert torch.allclose(made.learner_logprobs, wanted[key].learner_logprobs, rtol=1e-5, atol=2e-5)
        assert largest_difference(gradients(packed), gradients(padded)) < 1e-4
        metrics = packed.optimizer_step()
        for name, value in padded.optimizer_step().items():
            assert value is metrics[name] or metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
    prompt, answer = [5, 6, 7], [8, 9, 10]
    assert packed.logprobs(prompt, answer) == pytest.approx(padded.logprobs(prompt, answer), abs=1e-4)


def test_adapters_and_recomputed_activations_are_packed_in_bfloat16(config, monkeypatch):
    monkeypatch.setattr("trainer.learner.packing_attentions", lambda *_: ("sdpa",))
    learner = learner_for(
        config,
        learner={"compute_dtype": "bfloat16", "gradient_checkpointing": True},
        lora={"rank": 2},
    )
    assert learner.model.config._attn_implementation == "sdpa"
    learner.forward_backward(random_groups())
    assert learner.optimizer_step()["grad_norm"] > 0


class LargestTensor(TorchDispatchMode):
    """The bytes of the largest tensor that any operation inside makes."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        self.bytes = max([self.bytes, *(t.numel() * t.element_size() for t in tensors)])
        return result


def test_a_large_vocabulary_never_meets_all_tokens_at_once():
    vocabulary = 151_936
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("qwen3", **{**MODELS["qwen3"], "vocab_size": vocabulary})
    ).to(DEVICE)
    sequences = [Trajectory([7] * 240, 1, [-1.0] * 239, 1.0) for _ in range(2)]
    assert 478 * vocabulary * 4 > LOGITS_BYTES  # all of them would not do
    batch = micro_batch(sequences, 1, DEVICE, packed=True)
    with LargestTensor() as largest:
        logprobs, _ = TokenLogprobs(model)(batch, 1.0)
        logprobs.sum().backward()
    assert LOGITS_BYTES / 2 < largest.bytes <= LOGITS_BYTES


def test_what_a_machine_packs_with(monkeypatch):
    monkeypatch.setattr("trainer.attention.is_flash_attn_2_available", lambda: False)
    assert packing_attentions("cpu", "bfloat16") == ()
    assert packing_attentions("cuda", "float32") == ()
    assert packing_attentions("cuda", "bfloat16") == ("flex_attention",)
    monkeypatch.setattr("trainer.attention.is_flash_attn_2_available", lambda: True)
    assert packing_attentions("cuda", "bfloat16") == ("flash_attention_2", "flex_attention")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_models_of_attention_alone_can_be_packed_in_either_precision(name, dtype):
    model = model_of(name)
    other = "eager" if name == "gemma2" else "sdpa"
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
        assert attend_packed(model, [other])
    assert model.config._attn_implementation == other
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_attention_that_a_machine_or_model_lacks_is_passed_over(capsys):
    model = model_of("llama").to("cpu")
    # Flash attention is not for CPUs, and flex attention has no backward pass there.
    with torch.compiler.set_stance("force_eager"):
        assert attend_packed(model, ["flash_attention_2", "flex_attention", "sdpa"])
    assert model.config._attn_implementation == "sdpa"
    said = capsys.readouterr().out
    assert "sequences are not packed with flash_attention_2: " in said
    assert "sequences are not packed with flex_attention: NotImplementedError" in said
    assert not attend_packed(model, ["nonesuch"])
    assert model.config._attn_implementation == "sdpa"
    assert "sequences are not packed with nonesuch: ValueError" in capsys.readouterr().out


def test_a_model_that_does_not_look_for_where_sequences_start_is_padded(capsys):
    model = random_model("opt")  # it places packed tokens rightly, and lets them see all before them
    assert not attend_packed(model, ["sdpa"])
    assert model.config._attn_implementation == "eager"
    assert "OPTForCausalLM computes something else" in capsys.readouterr().out


def test_layers_that_count_from_the_start_of_a_row_are_padded(capsys):
    settings = AutoConfig.for_model("lfm2", **SMALL, layer_types=["conv", "full_attention"])
    model = AutoModelForCausalLM.from_config(settings, attn_implementation="eager").eval()
    assert not attend_packed(model, ["sdpa"])
    assert "Lfm2ForCausalLM has layers of conv" in capsys.readouterr().out


def test_memory_that_runs_out_while_finding_out_is_no_reason_to_pad(monkeypatch):
    model = model_of("llama")
    monkeypatch.setattr(model.model, "forward", lambda **_: torch.empty(2**50))
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        attend_packed(model, ["sdpa"])
