"""Shared by all tests: no network, and one vLLM server a session, started when a test first asks."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# pytest puts this folder first, where `trainer/` and the others would hide the packages they test.
sys.path.insert(0, str(Path(__file__).parent.parent))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A folder with a randomly initialised one-layer Qwen3: it answers nonsense."""
    from trainer.builtin.tiny import write_tiny_model  # noqa: PLC0415 - slow to import

    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def vllm_server(tiny_model):
    """A warm `vllm serve` on core 0. It starts with the tiny model; tests load the weights they need."""
    from trainer.config import EngineSettings  # noqa: PLC0415
    from trainer.server import VllmServer  # noqa: PLC0415

    directory = Path(tempfile.mkdtemp(prefix="vllm-"))  # a unix socket's path must be short
    try:
        with VllmServer.start(
            str(tiny_model),
            settings=EngineSettings(name="vllm"),
            socket=directory / "engine.sock",
            log=directory / "engine.log",
            cores=(0,),
        ) as server:
            yield server
    finally:
        shutil.rmtree(directory)
