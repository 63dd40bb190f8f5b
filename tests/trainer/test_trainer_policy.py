"""The policy's weights as others see them: names, adapters, checkpoints that load elsewhere."""

import json
import re

import pytest
import torch
from learner_factory import (
    ARCHITECTURES,
    learner_for,
    naive_logprobs,
    on_cpu,
    random_groups,
    step,
    trained,
    write_model,
)
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from trainer.attention import attention
from trainer.checkpoint import export_policy
from trainer.errors import ConfigError
from trainer.learner import Learner

# The fused kernel leaves out what Gemma 2 does to its attention.
FLOAT32 = {"dtype": torch.float32, "attn_implementation": "eager"}


@pytest.fixture(params=ARCHITECTURES)
def folder(request, tiny_model, tmp_path):
    """A model of each architecture, saved by transformers."""
    return write_model(request.param, tmp_path / request.param, tiny_model)


def test_weights_have_the_names_and_values_of_the_models_own_checkpoint(config, folder):
    saved = load_file(folder / "model.safetensors")
    weights = learner_for(config, model=str(folder)).weights(torch.bfloat16)
    assert weights.keys() == saved.keys()
    for name, tensor in saved.items():
        assert torch.equal(weights[name], tensor.to(torch.bfloat16)), name


@pytest.mark.parametrize("rank", [0, 3])
def test_an_exported_policy_computes_elsewhere_what_the_learner_computes(config, folder, tmp_path, rank):
    learner = learner_for(config, model=str(folder), lora={"rank": rank}, optim={"lr": 1e-2})
    for seed in range(2):
        step(learner, random_groups(seed=seed))
    exported = tmp_path / "exported"
    exported.mkdir()
    export_policy(learner, exported, torch.float32)
    assert load_file(exported / "model.safetensors").keys() == load_file(folder / "model.safetensors").keys()
    model, info = AutoModelForCausalLM.from_pretrained(exported, **FLOAT32, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    prompt, answer = [5, 6, 7, 8], [9, 10, 300, 0]
    found = learner.logprobs(prompt, answer)
    assert found == pytest.approx(naive_logprobs(model.eval(), prompt, answer), abs=1e-3)
    base = AutoModelForCausalLM.from_pretrained(folder, **FLOAT32).eval()
    assert found != pytest.approx(naive_logprobs(base, prompt, answer), abs=1e-2)


@pytest.mark.parametrize("name", ["qwen3", "gpt2"])
def test_adapters_are_all_that_is_trained_and_saved_and_the_base_stays(config, tiny_model, tmp_path, name):
    folder = write_model(name, tmp_path / name, tiny_model)
    learner = learner_for(config, model=str(folder), lora={"rank": 2, "alpha": 8}, optim={"lr": 1e-2})
    saved = load_file(folder / "model.safetensors")
    assert all(torch.equal(tensor, saved[n]) for n, tensor in learner.weights(torch.float32).items())
    before = on_cpu(learner.model.state_dict())
    for seed in range(2):
        step(learner, random_groups(seed=seed))
    state = learner.state_dict()
    assert sorted(state["weights"]) == sorted(trained(learner))
    assert all(".lora_" in n for n in state["weights"])
    assert sum(t.numel() for t in state["weights"].values()) < 0.5 * sum(t.numel() for t in saved.values())
    exported = learner.weights(torch.float32)
    moved = {n for n, tensor in exported.items() if not torch.equal(tensor, saved[n])}
    matrices = {
        n
        for n, tensor in saved.items()
        if tensor.ndim == 2 and not ("embed" in n or "wte" in n or "wpe" in n)
    }
    assert moved == matrices
    now = on_cpu(learner.model.state_dict())
    assert all(torch.equal(now[n], t) for n, t in before.items() if ".lora_" not in n)
    # W + (alpha / r) B A, with Conv1D's weights lying the other way round.
    layer = next(n for n in now if n.endswith("lora_A.default.weight")).removesuffix(".lora_A.default.weight")
    delta = 8 / 2 * now[f"{layer}.lora_B.default.weight"] @ now[f"{layer}.lora_A.default.weight"]
    base = now[f"{layer}.base_layer.weight"]
    expected = base + (delta.T if name == "gpt2" else delta)
    [found] = [t for n, t in exported.items() if f"{layer}.weight".endswith(n)]
    assert torch.allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("target_modules", "message"),
    [
        ("no_such_module", "does not fit the model"),
        ("(", "does not fit the model"),
        (".*embed_tokens", "is shared"),
    ],
)
def test_adapters_that_cannot_be_are_a_configuration_error(config, target_modules, message):
    with pytest.raises(ConfigError, match=f"lora.target_modules.*{message}"):
        learner_for(config, lora={"rank": 2, "target_modules": target_modules})


def test_a_regular_expression_chooses_the_modules(config):
    learner = learner_for(config, lora={"rank": 2, "target_modules": r".*\.q_proj"})
    assert {n.split(".")[-4] for n in trained(learner)} == {"q_proj"}


def test_weights_are_copies(config):
    learner = learner_for(config, optim={"lr": 1e-2})
    before = learner.weights(torch.float32)
    kept = {name: tensor.clone() for name, tensor in before.items()}
    step(learner, random_groups())
    assert all(torch.equal(tensor, kept[name]) for name, tensor in before.items())


@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("name", ["qwen3", "gpt2"])
def test_perturbed_weights_differ_in_every_tensor_and_are_put_back_exactly(
    config, tiny_model, tmp_path, name, rank
):
    torch.manual_seed(0)
    folder = write_model(name, tmp_path / name, tiny_model)
    tensors = load_file(folder / "model.safetensors")
    biases = {n: torch.zeros_like(t) if n.endswith("bias") else t for n, t in tensors.items()}
    save_file(biases, folder / "model.safetensors", metadata={"format": "pt"})
    learner = learner_for(config, model=str(folder), lora={"rank": rank})
    before = learner.weights(torch.bfloat16)
    with pytest.raises(ZeroDivisionError), learner.perturbed():
        inside = learner.weights(torch.bfloat16)
        assert not any(torch.equal(inside[n], tensor) for n, tensor in before.items())
        _ = 1 / 0
    assert all(torch.equal(tensor, before[n]) for n, tensor in learner.weights(torch.bfloat16).items())


def test_a_checkpoint_that_lacks_weights_is_refused_with_their_names(config, tiny_model, tmp_path):
    folder = write_model("llama", tmp_path / "llama", tiny_model)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"no weights for model\.layers\.1\.mlp\.up_proj\.weight"):
        learner_for(config, model=str(folder))


def test_a_checkpoint_cut_short_is_a_configuration_error(config, tiny_model, tmp_path):
    folder = write_model("llama", tmp_path / "llama", tiny_model)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ConfigError, match="could not be loaded"):
        learner_for(config, model=str(folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"intermediate_size": 96},
            r"of other shapes than its config.json says: "
            r"model\.layers\.0\.mlp\.down_proj\.weight \[32, 64\] where config.json means \[32, 96\].*"
            r" and 1 more",
        ),
        ({"hidden_size": "many"}, "could not be loaded: .*'hidden_size' expected int, got str"),
        ({"hidden_size": -64}, "could not be loaded: .*-64"),
        ({"num_attention_heads": 0}, "could not be loaded: ZeroDivisionError"),
        ({"model_type": "nonesuch"}, "could not be loaded: .*nonesuch"),
    ],
)
def test_a_config_json_that_does_not_fit_is_a_configuration_error(
    config, tiny_model, tmp_path, change, message
):
    folder = write_model("llama", tmp_path / "llama", tiny_model)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError) as caught:
        learner_for(config, model=str(folder))
    assert re.search(message, " ".join(str(caught.value).split()))


def test_a_device_that_is_not_there_is_a_configuration_error(config):
    with pytest.raises(
        ConfigError, match=r"resources\.device is cuda:99, but torch finds (no|\d+) CUDA device"
    ):
        Learner(config(), torch.device("cuda:99"))


@pytest.mark.parametrize(
    ("name", "device_type", "expected"),
    [
        ("llama", "cpu", "eager"),
        ("llama", "cuda", None),
        ("gemma2", "cuda", "eager"),
        ("gemma2", "cpu", "eager"),
    ],
)
def test_a_soft_cap_gets_explicit_attention_on_every_device(name, device_type, expected):
    settings = AutoConfig.for_model(name, **ARCHITECTURES[name])
    assert attention(settings, device_type) == expected


def test_gradient_checkpointing_that_a_model_cannot_do_is_a_configuration_error(config, monkeypatch):
    monkeypatch.setattr("transformers.Qwen3ForCausalLM.supports_gradient_checkpointing", False)
    with pytest.raises(ConfigError, match=r"does not support learner\.gradient_checkpointing"):
        learner_for(config, learner={"gradient_checkpointing": True})
