"""Which weights engines compute with, and what they refuse to load."""

import json

import pytest
import torch
from engine_subject import PROMPT, mean_gap
from safetensors.torch import load_file, save_file

from trainer.engine.checksum import checksums


@pytest.fixture
def weights(tiny_model):
    return load_file(tiny_model / "model.safetensors")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "weights.safetensors"


def test_after_loading_other_weights_nothing_of_the_old_ones_is_left(
    subject, tiny_model, other_model, exact, tokenizer
):
    # Longer than several blocks of a prefix cache.
    prompt = tokenizer.encode(PROMPT * 15)
    assert len(prompt) > 400
    subject.load(tiny_model, 1)
    before = subject.generate(prompt, max_tokens=8, temperature=0)[0]
    subject.load(other_model, 2)
    after = subject.generate(prompt, max_tokens=8, temperature=0)[0]

    expected = exact(other_model, prompt, after.token_ids)
    assert mean_gap(after.logprobs, expected) < subject.tolerance
    # The check above would notice both ways of failing: old weights, and old keys and values.
    assert mean_gap(after.logprobs, exact(tiny_model, prompt, after.token_ids)) > 10 * subject.tolerance
    stale = exact.with_stale_cache(tiny_model, other_model, prompt, after.token_ids)
    assert mean_gap(stale, expected) > 2 * subject.tolerance
    assert (before.version_max, after.version_min, after.version_max) == (1, 2, 2)


def test_checksums_are_those_of_the_file_and_change_with_a_single_number(subject, tiny_model, weights, file):
    expected = checksums(weights)
    assert subject.load(tiny_model, 2) == expected
    weights["model.norm.weight"][3] += 1
    save_file(weights, file)
    changed = subject.load(file, 3)
    assert {name for name in expected if changed[name] != expected[name]} == {"model.norm.weight"}


def test_a_file_without_a_parameter_is_refused_by_the_parameters_name(subject, tiny_model, weights, file):
    del weights["model.layers.0.mlp.down_proj.weight"]
    save_file(weights, file)
    subject.refuses(file, r"model\.layers\.0\.mlp\.down_proj\.weight")
    subject.load(tiny_model, 2)
    assert subject.generate([5, 6, 7], temperature=0)


def test_a_file_without_a_part_of_what_vllm_joins_is_refused(
    vllm_subject, tiny_model, weights, file, assert_computes_with
):
    subject = vllm_subject
    subject.load(tiny_model, 1)  # with names that are all known to be good
    del weights["model.layers.0.self_attn.k_proj.weight"]
    save_file(weights, file)
    subject.refuses(file, r"a part of model\.layers\.0\.self_attn\.qkv_proj\.weight")
    subject.refuses(file, r"qkv_proj")  # the second time as well
    subject.load(tiny_model, 2)
    assert_computes_with(subject, tiny_model)


def test_a_head_that_is_the_embedding_may_be_in_the_file(
    subject, tiny_model, other_model, file, assert_computes_with
):
    subject.load(tiny_model, 1)
    weights = load_file(other_model / "model.safetensors")
    assert "lm_head.weight" not in weights
    save_file({**weights, "lm_head.weight": weights["model.embed_tokens.weight"].clone()}, file)
    subject.load(file, 2)
    assert_computes_with(subject, other_model)


def test_of_a_folder_the_files_are_loaded_that_transformers_would_take(
    subject, tiny_model, other_model, tmp_path, assert_computes_with
):
    weights = load_file(other_model / "model.safetensors")
    names = sorted(weights)
    parts = {"a.safetensors": names[:3], "b.safetensors": names[3:]}
    for part, held in parts.items():
        save_file({name: weights[name] for name in held}, tmp_path / part)
    save_file({"tok_embeddings.weight": torch.zeros(2)}, tmp_path / "consolidated.safetensors")
    index = {"weight_map": {name: part for part, held in parts.items() for name in held}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    subject.load(tiny_model, 1)
    assert subject.load(tmp_path, 2).keys() == weights.keys()
    assert_computes_with(subject, other_model)
    (tmp_path / "b.safetensors").unlink()
    subject.refuses(tmp_path, r"names files that are not there: b\.safetensors")
    subject.load(tiny_model, 3)


@pytest.mark.parametrize(
    "name",
    [
        "bogus.weight",
        "model.layers.7.mlp.down_proj.weight",
        "model.layers.0.self_attn.q_proj.lora_A.weight",
        # vLLM drops these two without a word.
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
    ],
)
def test_a_file_with_a_tensor_that_the_model_has_not_is_refused_by_the_tensors_name(
    subject, tiny_model, file, assert_computes_with, name
):
    save_file({**load_file(tiny_model / "model.safetensors"), name: torch.zeros(32)}, file)
    subject.load(tiny_model, 1)  # with names that are all known to be good
    subject.refuses(file, name.replace(".", r"\."))
    subject.load(tiny_model, 2)
    assert_computes_with(subject, tiny_model)


def test_a_parameter_of_the_wrong_shape_is_refused_by_its_name(
    transformers_subject, tiny_model, weights, file, assert_computes_with
):
    # Not over vLLM: there a load that fails half-way leaves the server in need of a restart.
    subject = transformers_subject
    weights["model.norm.weight"] = weights["model.norm.weight"][:16].clone()
    save_file(weights, file)
    subject.refuses(file, r"model\.norm\.weight")
    subject.load(tiny_model, 2)
    assert_computes_with(subject, tiny_model)


def test_a_file_that_is_refused_changes_nothing(
    transformers_subject, tiny_model, other_model, file, assert_computes_with
):
    subject = transformers_subject
    subject.load(tiny_model, 1)
    others = load_file(other_model / "model.safetensors")
    save_file({**others, "bogus.weight": torch.zeros(2)}, file)
    subject.refuses(file, "bogus")
    assert_computes_with(subject, tiny_model)
    assert subject.generate([5, 6, 7])[0].version_max == 1


def test_a_folder_without_weights_is_refused(subject, tmp_path):
    subject.refuses(tmp_path, r"no model\.safetensors")
    assert subject.generate([5, 6, 7])


def test_a_prefix_cache_is_emptied_by_a_load_also_where_the_salt_stays(
    vllm_subject, tiny_model, other_model, exact, tokenizer, monkeypatch
):
    subject = vllm_subject
    monkeypatch.setattr("trainer.engine.vllm_client.secrets.token_hex", lambda _: "the same")
    prompt = tokenizer.encode(PROMPT * 15)
    subject.load(tiny_model, 1)
    subject.generate(prompt, max_tokens=8, temperature=0)
    subject.load(other_model, 2)
    after = subject.generate(prompt, max_tokens=8, temperature=0)[0]
    expected = exact(other_model, prompt, after.token_ids)
    assert mean_gap(after.logprobs, expected) < subject.tolerance
    stale = exact.with_stale_cache(tiny_model, other_model, prompt, after.token_ids)
    assert mean_gap(stale, expected) > 2 * subject.tolerance
