"""Shared by all tests: no network, and one vLLM server a session, started when a test first asks."""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# A shell starts what runs in its background with Ctrl-C ignored, and nohup what it starts with hanging up
# ignored, and so would be what tests send these to.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A folder with a randomly initialised one-layer Qwen3: it answers nonsense."""
    from trainer.builtin.tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def digit_model(tmp_path_factory):
    """The tiny model, taught to answer `Q: …\\nA:` with ` #### ` and a random digit."""
    from factories.digit_model import write_digit_model

    return write_digit_model(tmp_path_factory.mktemp("model") / "digits")


@pytest.fixture(scope="session")
def digit_problems(tmp_path_factory):
    """A JSONL file of forty questions without sense whose answers are the ten digits."""
    from factories.digit_model import write_problems

    return write_problems(tmp_path_factory.mktemp("problems") / "digits.jsonl")


@pytest.fixture(scope="session")
def vllm_settings():
    """Of servers that the tests start: on a GPU, two of them and a learner are there at once."""
    from trainer.settings import EngineSettings

    return EngineSettings(name="vllm", memory_utilization=0.15)


@pytest.fixture(scope="session")
def vllm_server(tiny_model, vllm_settings):
    """A warm `vllm serve` on core 0. It starts with the tiny model; tests load the weights they need."""
    from trainer.server import VllmServer

    directory = Path(tempfile.mkdtemp(prefix="vllm-"))  # a unix socket's path must be short
    try:
        with VllmServer.start(
            str(tiny_model),
            settings=vllm_settings,
            socket=directory / "engine.sock",
            log=directory / "engine.log",
            cores=(0,),
        ) as server:
            yield server
    finally:
        shutil.rmtree(directory)
