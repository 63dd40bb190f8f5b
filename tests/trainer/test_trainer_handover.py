"""Weights on their way to the engine, and checksums that prove what came."""

import pytest
import torch
from device_under_test import DEVICE
from hypothesis import given, settings
from hypothesis import strategies as st
from learner_factory import CPU, learner_for, random_groups, step, write_model
from safetensors.torch import load_file
from trainer_factory import LocalEngine, run_loop, step_fields

from trainer.engine import checksum
from trainer.engine.checksum import Checksums, checksums, word_sum
from trainer.handover import DeviceBuffer, SharedMemoryFile

STEP = 0x9E3779B97F4A7C15


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(1)
    return {
        "embedding": torch.randn(37, 5, generator=generator).bfloat16(),
        "norm": torch.randn(3, generator=generator),
        "count": torch.tensor(7),
        "head": torch.randn(4, 3, 2, generator=generator).bfloat16(),
    }


@pytest.mark.parametrize("make", [SharedMemoryFile, lambda: DeviceBuffer(DEVICE)], ids=["file", "buffer"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_what_was_put_last_is_held_until_it_is_closed(make, weights, dtype):
    handover = make()
    for factor in (1, 2):
        put = {name: factor * tensor for name, tensor in weights.items()}
        returned = handover.put(put, dtype)
        held = load_file(handover.file())
        offered = handover.held if isinstance(handover.held, dict) else load_file(handover.held)
        for found in (held, returned, offered):
            assert found.keys() == put.keys()
            assert found["count"].dtype == torch.int64
            assert found["count"] == factor * 7
            for name in put.keys() - {"count"}:
                assert found[name].dtype == dtype
                assert torch.equal(found[name].cpu(), put[name].to(dtype))
    file = handover.file()
    handover.close()
    assert not file.exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", ["qwen3", "gpt2", "qwen3_moe"])
@pytest.mark.parametrize("rank", [0, 2])
@pytest.mark.parametrize("make", [SharedMemoryFile, lambda: DeviceBuffer(DEVICE)], ids=["file", "buffer"])
def test_weights_that_are_still_the_learners_own_are_held_as_they_were(
    config, tiny_model, tmp_path, make, rank, name, dtype
):
    """Also those that the model joins, keeps transposed or ties, and after a step has changed them."""
    folder = write_model(name, tmp_path / name, tiny_model)
    learner = learner_for(config, model=str(folder), lora={"rank": rank}, optim={"lr": 1e-2})
    step(learner, random_groups())
    before = learner.weights(dtype)
    handover = make()
    handover.put(learner.live_weights(dtype), dtype)
    step(learner, random_groups(seed=1))
    held = load_file(handover.file())
    assert held.keys() == before.keys()
    assert all(torch.equal(held[n], before[n]) for n in before)
    assert any(not torch.equal(held[n], tensor) for n, tensor in learner.weights(dtype).items())
    handover.close()


def test_a_buffer_is_one_allocation_that_stays(weights):
    buffer = DeviceBuffer(DEVICE)
    first = buffer.put(weights, torch.float32)
    assert {tensor.device.type for tensor in first.values()} == {DEVICE.type}
    assert len({tensor.untyped_storage().data_ptr() for tensor in first.values()}) == 1
    assert all(tensor.data_ptr() % 64 == first["norm"].data_ptr() % 64 for tensor in first.values())
    again = buffer.put({name: tensor + 1 for name, tensor in weights.items()}, torch.float32)
    assert {n: t.data_ptr() for n, t in again.items()} == {n: t.data_ptr() for n, t in first.items()}
    other = buffer.put({"embedding": torch.ones(2)}, torch.float32)
    assert other.keys() == {"embedding"}
    buffer.close()


@pytest.mark.parametrize("in_flight", ["wait", "abort", "keep"])
def test_a_run_computes_the_same_whether_it_hands_over_files_or_tensors(
    tmp_path, config, digit_model, in_flight
):
    """With every way of a sync; with k = 2, so that the last checkpoint keeps the engine's older weights."""
    found = []
    for takes_tensors in (False, True):
        engine = LocalEngine(digit_model)
        engine.takes_tensors = takes_tensors
        folder = tmp_path / str(takes_tensors)
        settings = config(
            max_staleness=1, prompts_per_rollout_sync=4, in_flight=in_flight, optim={"lr": 1e-3}, max_steps=3
        )
        paths = run_loop(folder, settings, engine)
        kept = load_file(paths.checkpoint(3) / "model.safetensors")
        found.append((step_fields(paths, "loss", "grad_norm", "reward_mean"), kept, engine.loads))
    (files, first, by_file), (tensors, second, by_tensor) = found
    assert [version for version, _ in by_file] == [version for version, _ in by_tensor] == [0, 0, 2]
    if in_flight == "wait":  # otherwise it depends on the moment of a sync what is sampled by which weights
        assert files == tensors
        assert all(torch.equal(first[name], second[name]) for name in first)


def brute_sum(values):
    """Python's integers, word by word."""
    factors = checksum._factors(CPU).tolist()
    padded = bytes(values) + bytes(-len(values) % 8)
    words = [int.from_bytes(padded[i : i + 8], "little", signed=True) for i in range(0, len(padded), 8)]
    whole, tail = words[: len(values) // 8], words[len(values) // 8 :]
    total = 0
    block = checksum._BLOCK_WORDS
    for start in range(0, len(whole), block):
        part = whole[start : start + block]
        total = total * STEP + sum(w * f for w, f in zip(part, factors, strict=False))
    if tail:
        total = total * STEP + sum(w * f for w, f in zip(tail, factors, strict=False))
    return (total + 2**63) % 2**64 - 2**63


@settings(deadline=None)
@given(st.lists(st.integers(0, 255), max_size=200), st.integers(1, 9))
def test_the_sum_of_words_is_that_of_pythons_integers(values, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checksum, "_BLOCK_WORDS", block)
        checksum._factors.cache_clear()
        found = word_sum(torch.tensor(values, dtype=torch.uint8))
        assert found == brute_sum(values)
    checksum._factors.cache_clear()


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_the_sum_of_words_tells_any_two_apart_that_differ_in_a_byte(data):
    values = data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=64))
    place = data.draw(st.integers(0, len(values) - 1))
    other = list(values)
    other[place] = data.draw(st.integers(0, 255).filter(lambda value: value != values[place]))
    first, second = (torch.tensor(each, dtype=torch.uint8) for each in (values, other))
    assert word_sum(first) != word_sum(second)


def test_the_sum_of_words_knows_places_and_does_not_care_where_a_tensor_begins():
    values = torch.arange(40, dtype=torch.int16)
    swapped = values.clone()
    swapped[[0, 2]] = swapped[[2, 0]]
    assert word_sum(values.view(torch.uint8)) != word_sum(swapped.view(torch.uint8))
    shifted = torch.cat([torch.tensor([9], dtype=torch.int16), values])[1:]
    assert word_sum(shifted.view(torch.uint8)) == word_sum(values.view(torch.uint8))


@pytest.fixture(params=["host", "device"])
def hashed_on(request, monkeypatch):
    """Where the bytes of a tensor on CPU are summed up: by xxh3, or as on a GPU."""
    if request.param == "device":
        monkeypatch.setattr(checksum, "_HASHED_ON", set())


def test_a_checksum_is_of_type_and_shape_too(hashed_on):
    values = torch.arange(6, dtype=torch.int32)
    found = checksums(
        {
            "itself": values,
            "shape": values.reshape(2, 3),
            "type": values.view(torch.float32),
            "copy": torch.stack([values, values])[1],
        }
    )
    assert found["itself"] == found["copy"]
    assert len(set(found.values())) == 3


def test_many_tensors_are_told_apart_and_the_last_of_a_name_counts(hashed_on, weights):
    assert checksums(weights) == checksums(weights)
    for name in weights:
        other = {**weights, name: weights[name] + 1}
        found, before = checksums(other), checksums(weights)
        assert {n for n in weights if found[n] != before[n]} == {name}
    several = Checksums()
    for name, tensor in weights.items():
        assert name not in several
        several.add(name, tensor + 1)
        several.add(name, tensor)  # the last one counts
        assert name in several
    assert several.read() == several.read() == checksums(weights)
