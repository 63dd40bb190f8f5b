"""Engines that hang, die, are not there, or are asked for what they cannot do."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
from aiohttp import web

from trainer.engine.protocol import GenerationRequest
from trainer.engine.start import start_engine
from trainer.engine.transformers_engine import TransformersEngine
from trainer.engine.vllm_client import VllmEngine
from trainer.errors import ConfigError, EngineError
from trainer.server import VllmServer
from trainer.settings import EngineSettings

ANSWER = {
    "index": 0,
    "finish_reason": "stop",
    "token_ids": [4],
    "weight_versions": [{"version": "3", "start": 0, "end": 1}],
    "logprobs": {"content": [{"token_id": 4, "logprob": -0.5}]},
}


@asynccontextmanager
async def fake_server(folder, *, answer_after_s=None, counting=False, status=200, healthy=True):
    """vLLM's routes: the test says when a request is answered and whether the counter of tokens moves."""
    began = time.monotonic()
    over = asyncio.Event()

    async def generate(_):
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), answer_after_s)
        return web.json_response({"choices": [ANSWER]}, status=status)

    async def metrics(_):
        count = int(1000 * (time.monotonic() - began)) if counting else 7
        return web.Response(text=f'vllm:generation_tokens_total{{engine="0"}} {count}.0\n')

    async def health(_):
        return web.Response(status=200 if healthy else 503)

    async def done(_):
        return web.json_response({})

    async def never(_):
        await over.wait()

    app = web.Application()
    app.router.add_post("/inference/v1/generate", generate)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/health", health)
    app.router.add_post("/collective_rpc", never)
    for route in ("/abort_requests", "/pause", "/resume", "/update_weight_version"):
        app.router.add_post(route, done)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "engine.sock")).start()
    engine = VllmEngine(folder / "engine.sock", EngineSettings(timeout_s=0.2))
    try:
        await engine.attach()
        yield engine
    finally:
        await engine.close()
        over.set()
        await runner.cleanup()


REQUEST = GenerationRequest([5, 6, 7], 1, 20, 1.0, seed=0)


def test_vllm_that_samples_nothing_while_a_request_waits_hangs(tmp_path):
    async def hang():
        async with fake_server(tmp_path) as engine:
            with pytest.raises(EngineError, match=r"hangs.*for 0\.2 s.*log.*engine\.timeout_s"):
                await asyncio.wait_for(engine.generate(REQUEST), 10)

    asyncio.run(hang())


def test_a_request_that_waits_its_turn_while_vllm_samples_for_others_is_waited_for(tmp_path):
    async def wait():
        async with fake_server(tmp_path, answer_after_s=1.0, counting=True) as engine:
            completion = (await asyncio.wait_for(engine.generate(REQUEST), 10))[0]
            assert (completion.token_ids, completion.version_max) == ([4], 3)

    asyncio.run(wait())


def test_vllm_that_never_finishes_a_load_hangs(tmp_path):
    async def hang():
        async with fake_server(tmp_path) as engine:
            with pytest.raises(EngineError, match=r"hangs.*engine\.timeout_s"):
                await asyncio.wait_for(engine.load_weights(tmp_path, 1), 10)

    asyncio.run(hang())


def test_vllm_whose_worker_has_ended_fails_the_run_and_not_the_request_alone(tmp_path):
    async def fail():
        async with fake_server(tmp_path, answer_after_s=0, status=500, healthy=False) as engine:
            with pytest.raises(EngineError, match="does not answer"):
                await engine.generate(REQUEST)

    asyncio.run(fail())


def test_a_transformers_engine_that_stands_still_hangs(deterministic_subject):
    engine = deterministic_subject.engine

    async def hang():
        with pytest.raises(EngineError, match=r"hangs.*for 1 s.*train\.log.*engine\.timeout_s"):
            await asyncio.wait_for(engine.generate(REQUEST), 10)

    os.kill(engine._process.pid, signal.SIGSTOP)
    try:
        deterministic_subject.call(hang())
    finally:
        os.kill(engine._process.pid, signal.SIGCONT)
    assert deterministic_subject.generate([5, 6, 7])


def test_a_transformers_engine_that_samples_for_longer_than_the_time_limit_is_waited_for(
    deterministic_subject,
):
    began = time.monotonic()
    assert len(deterministic_subject.generate([5, 6, 7], 16, max_tokens=1000, temperature=3.0)) == 16
    assert time.monotonic() - began > 1


def test_a_transformers_engine_whose_child_is_killed_says_so_at_once(tiny_model):
    async def kill():
        engine = TransformersEngine(str(tiny_model), EngineSettings(), (0,))
        await engine.attach()
        request = GenerationRequest([5, 6, 7], 4, 1000, 3.0, seed=0)
        running = asyncio.create_task(engine.generate(request))
        while not (await engine.counters()).completion_tokens:
            assert not running.done()
        os.kill(engine._process.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="has ended"):
            await asyncio.wait_for(running, 20)
        with pytest.raises(EngineError, match="has ended"):
            await asyncio.wait_for(engine.generate(request), 20)
        await engine.close()

    asyncio.run(kill())


def test_a_terminals_interruption_is_the_runs_to_handle_not_its_engines(
    transformers_subject, tiny_model, prompt
):
    transformers_subject.load(tiny_model, 1)
    os.kill(transformers_subject.engine._process.pid, signal.SIGINT)
    assert transformers_subject.generate(prompt, n=2)
    assert transformers_subject.generate(prompt, n=2)


def test_a_server_that_is_not_there_is_an_engine_error_that_names_its_socket(tmp_path, tiny_model):
    async def attach():
        engine = start_engine(
            str(tiny_model), EngineSettings(name="vllm"), tmp_path / "no.sock", tmp_path, ()
        )
        try:
            with pytest.raises(EngineError, match=r"no\.sock does not answer"):
                await engine.attach()
            with pytest.raises(EngineError, match=r"no\.sock does not answer"):
                await engine.counters()
        finally:
            await engine.close()

    asyncio.run(attach())


def test_vllm_asked_for_where_it_is_not_installed_is_a_configuration_error(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.server.available", lambda: False)
    with pytest.raises(ConfigError, match=r"not installed here; use engine\.name: auto"):
        start_engine("m", EngineSettings(name="vllm"), None, tmp_path, ())


@pytest.mark.parametrize("socket", [None, "engine.sock"])
def test_vllms_cpu_build_cannot_be_deterministic_and_says_what_can(tmp_path, monkeypatch, socket):
    monkeypatch.setattr("trainer.server.version", lambda: "0.32.0+cpu")
    settings = EngineSettings(name="vllm", deterministic=True)
    with pytest.raises(ConfigError, match=r"engine\.deterministic.*CUDA.*use engine\.name: transformers"):
        start_engine("m", settings, socket and tmp_path / socket, tmp_path, ())


@pytest.mark.parametrize("deterministic", [True, False])
def test_vllm_on_cuda_is_told_to_be_batch_invariant(short, tmp_path, monkeypatch, deterministic):
    class WouldStartError(Exception):
        pass

    def start(_, *, env, **__):
        assert env.get("VLLM_BATCH_INVARIANT") == ("1" if deterministic else None)
        raise WouldStartError

    monkeypatch.delenv("VLLM_BATCH_INVARIANT", raising=False)
    monkeypatch.setattr("trainer.server.version", lambda: "0.32.0")
    monkeypatch.setattr("trainer.server.subprocess.Popen", start)
    settings = EngineSettings(name="vllm", deterministic=deterministic)
    with pytest.raises(WouldStartError):
        VllmServer.start("m", settings=settings, socket=short / "s", log=tmp_path / "engine.log")


def test_a_socket_whose_path_is_too_long_is_refused_before_anything_starts(tmp_path):
    socket = tmp_path / ("x" * 60) / "s"  # itself short enough for most, but not vLLM's own beside it
    with pytest.raises(EngineError, match="TMPDIR"):
        VllmServer.start("m", settings=EngineSettings(), socket=socket, log=tmp_path / "engine.log")


@pytest.fixture
def short():
    """A folder whose path leaves room for a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


OWNER = """
import pathlib, sys, time
from trainer.engine.start import start_engine
from trainer.settings import EngineSettings
folder = pathlib.Path(sys.argv[2])
engine = start_engine(sys.argv[1], EngineSettings(name="vllm"), None, folder, (0,))
(folder / "server").write_text(str(engine._owned.process.pid))
time.sleep(600)
"""


@pytest.mark.slow
def test_a_server_of_a_run_ends_when_the_run_is_killed(tiny_model, tmp_path, short):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tiny_model), str(tmp_path)],
        env={**os.environ, "TMPDIR": str(short)},
    )
    try:
        while not (tmp_path / "server").exists():
            assert owner.poll() is None
            time.sleep(0.2)
        server = psutil.Process(int((tmp_path / "server").read_text()))
        family = [server, *server.children(recursive=True)]
        assert len(family) > 1
        assert not [path for path in short.iterdir() if path.is_socket()]  # all are in the engine's folder
        assert len(list(short.glob("sweepctl-engine-*/*"))) > 1
    finally:
        owner.kill()
        owner.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1.0, 6.0, 15.0])
def test_a_server_ends_when_the_run_is_killed_before_it_is_ready(tiny_model, tmp_path, seconds):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tiny_model), str(tmp_path)])
    try:
        deadline = time.monotonic() + 60
        while not (children := psutil.Process(owner.pid).children()) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(seconds)
        assert not (tmp_path / "server").exists()
        family = [*children, *children[0].children(recursive=True)]
    finally:
        owner.kill()
        owner.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
