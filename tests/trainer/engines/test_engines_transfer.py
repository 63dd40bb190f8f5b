"""Tensors instead of files: vLLM's own weight transfer, by CUDA IPC or as far as it goes without CUDA."""

import asyncio
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
import torch
from device_under_test import DEVICE
from engine_subject import PROMPT, Subject, mean_gap
from safetensors.torch import load_file

from trainer import server
from trainer.engine.checksum import checksums
from trainer.engine.vllm_client import VllmEngine
from trainer.errors import EngineError
from trainer.settings import EngineSettings

HERE = Path(__file__).parent
BACKEND = "ipc" if DEVICE.type == "cuda" else "copying"


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def transfer_server(tiny_model, vllm_settings, patched):
    """A server that takes tensors; where it cannot map CUDA memory, by the receiver of `copying_transfer`."""
    if BACKEND == "copying":
        patched.setattr(server, "WORKER_EXTENSION", "copying_transfer.CopyingWeightLoading")
        patched.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
    folder = Path(tempfile.mkdtemp(prefix="vllm-"))
    try:
        with server.VllmServer.start(
            str(tiny_model),
            settings=vllm_settings,
            socket=folder / "engine.sock",
            log=folder / "engine.log",
            weight_transfer=BACKEND,
            cores=(0,),
        ) as started:
            yield started
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def connect(transfer_server, patched):
    """Engines as the learners of one run after another attach to."""
    if BACKEND == "copying":
        import copying_transfer

        from trainer.engine import vllm_transfer

        patched.setattr(vllm_transfer, "init_info_for", lambda *_: copying_transfer.CopyingInitInfo(rank=0))
    with asyncio.Runner() as runner:
        engines = []

        def connect():
            engine = VllmEngine(transfer_server.socket, EngineSettings(name="vllm"), BACKEND)
            engines.append(engine)
            runner.run(engine.attach())
            return Subject(engine, runner, tolerance=0.03)

        yield connect
        for engine in engines:
            runner.run(engine.close())


@pytest.fixture
def subject(connect):
    return connect()


def tensors(folder):
    return {name: tensor.to(DEVICE) for name, tensor in load_file(folder / "model.safetensors").items()}


def load(subject, weights, version):
    return subject.call(subject.engine.load_weights(weights, version))


def test_tensors_arrive_and_are_what_the_engine_computes_with(
    subject, tiny_model, other_model, assert_computes_with
):
    for version, folder in enumerate((other_model, tiny_model, other_model), start=1):
        weights = tensors(folder)
        loaded = load(subject, weights, version)
        assert loaded == checksums(weights)
        assert_computes_with(subject, folder)
        sampled = subject.generate([5, 6, 7])[0]
        assert (sampled.version_min, sampled.version_max) == (version, version)


def test_files_are_taken_beside_tensors(subject, tiny_model, other_model, assert_computes_with):
    """Evaluations load checkpoints into the engine that a run was trained with."""
    load(subject, tensors(tiny_model), 1)
    subject.load(other_model, 2)
    assert_computes_with(subject, other_model)
    load(subject, tensors(tiny_model), 3)
    assert_computes_with(subject, tiny_model)


def test_what_is_running_goes_on_under_the_new_weights(subject, tiny_model, other_model, prompt, exact):
    load(subject, tensors(tiny_model), 1)

    async def sample_through_a_load():
        from trainer.engine.protocol import GenerationRequest

        request = GenerationRequest(prompt, n=1, max_tokens=400, temperature=1.0, seed=3)
        running = asyncio.create_task(subject.engine.generate(request))
        await subject.sampled(20)
        await subject.engine.load_weights(tensors(other_model), 2)
        return (await running)[0]

    sampled = subject.call(sample_through_a_load())
    assert (sampled.version_min, sampled.version_max) == (1, 2)
    expected = exact(other_model, prompt, sampled.token_ids)
    last = slice(-20, None)
    assert mean_gap(sampled.logprobs[last], expected[last]) < subject.tolerance


@pytest.mark.parametrize("known", [False, True], ids=["at first", "of names known to be good"])
def test_a_tensor_that_is_not_sent_is_missed(subject, tiny_model, assert_computes_with, known):
    weights = tensors(tiny_model)
    if known:
        load(subject, weights, 1)
    left = {name: tensor for name, tensor in weights.items() if "k_proj" not in name}
    with pytest.raises(EngineError, match=r"learner's memory .*a part of .*qkv_proj"):
        load(subject, left, 2)
    load(subject, weights, 3)
    assert_computes_with(subject, tiny_model)


def test_a_tensor_that_the_model_has_not_is_refused(subject, tiny_model, assert_computes_with):
    weights = tensors(tiny_model)
    with pytest.raises(EngineError, match="bogus"):
        load(subject, {**weights, "bogus.weight": torch.zeros(4, device=DEVICE)}, 1)
    load(subject, weights, 2)
    assert_computes_with(subject, tiny_model)


def test_an_engine_for_files_takes_no_tensors(vllm_subject, tiny_model):
    with pytest.raises(EngineError, match="from files only"):
        load(vllm_subject, tensors(tiny_model), 1)
    assert vllm_subject.generate([5, 6, 7], max_tokens=2)


def test_a_server_for_files_says_that_it_was_started_for_them(vllm_server, patched, connect):
    engine = VllmEngine(vllm_server.socket, EngineSettings(name="vllm"), BACKEND)
    with asyncio.Runner() as runner:
        with pytest.raises(EngineError, match="init_weight_transfer_engine"):
            runner.run(engine.attach())
        runner.run(engine.close())


def test_a_prompt_is_sampled_alike_after_tensors_and_after_a_file(subject, other_model, tokenizer):
    prompt = tokenizer.encode(PROMPT)
    load(subject, tensors(other_model), 1)
    by_tensors = subject.generate(prompt, temperature=0)[0]
    subject.load(other_model, 2)
    by_file = subject.generate(prompt, temperature=0)[0]
    assert by_tensors.token_ids == by_file.token_ids
    assert by_tensors.logprobs == by_file.logprobs


def test_a_transfer_that_does_not_end_is_an_error(subject, tiny_model, assert_computes_with, monkeypatch):
    """As one by NCCL whose other side has died; the engine is asked to go on all the same."""
    load(subject, tensors(tiny_model), 1)
    ended = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(subject.engine._transfer, "send", lambda _: ended.wait(60))
        patch.setattr(subject.engine, "_settings", EngineSettings(name="vllm", timeout_s=0.5))
        with pytest.raises(EngineError, match=r"sending weights to the engine did not end within 0\.5 s"):
            load(subject, tensors(tiny_model), 2)
    ended.set()
    load(subject, tensors(tiny_model), 3)
    assert_computes_with(subject, tiny_model)


def test_an_engine_that_was_left_amid_a_sync_says_so(connect):
    """The last test here: it cannot be used any more."""
    killed = connect()
    killed.call(asyncio.to_thread(killed.engine._transfer._client.start_weight_update))
    with pytest.raises(EngineError, match="during a weight update"):
        connect()
