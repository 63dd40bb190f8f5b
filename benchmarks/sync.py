"""What a sync of weights costs, and how near engine and learner then compute: python -m benchmarks.sync

A model of Qwen3's architecture with random weights, vLLM on CPU, weights through a file. With `--hidden 64`,
the default, there is next to nothing to copy: what is left is the host's part, which a GPU does not make
shorter.

- learner: its weights cast, written to shared memory, their checksums.
- engine: what it takes from the pause to the resumption; 20 ms of it is a fixed wait in vLLM's `/pause`.

With `--hidden 2048` layers are as wide as those of Qwen3-1.7B, and the proof at the start of a run is what is
of interest: the gap between their logprobs, as a share of the distance to other weights. A run refuses 0.1.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from benchmarks.gpu.model import QWEN3_1_7B, TINY, write_model
from trainer.config import RunConfig
from trainer.engine.protocol import Completion, GenerationRequest, Weights
from trainer.engine.vllm_client import VllmEngine
from trainer.learner import Learner
from trainer.server import VllmServer
from trainer.settings import EngineSettings
from trainer.weight_sync import PROBE_TOLERANCE, WeightSync

VOCABULARY = 16_384
REPEATS = 7
PROBE_PROMPT = list(range(100, 160))
PROBE_TOKENS = 32


class Engine:
    """What `WeightSync` asks of a run's rollouts, and how long loads took."""

    takes_tensors = False

    def __init__(self, engine: VllmEngine, runner: asyncio.Runner) -> None:
        self._engine = engine
        self._runner = runner
        self.load_ms: list[float] = []

    def load_weights(self, weights: Weights, version: int) -> dict[str, str]:
        start = time.perf_counter()
        loaded = self._runner.run(self._engine.load_weights(weights, version))
        self.load_ms.append(1000 * (time.perf_counter() - start))
        return loaded

    def sample(self, requests: Sequence[GenerationRequest]) -> list[list[Completion]]:
        return [self._runner.run(self._engine.generate(request)) for request in requests]


def measure(learner: Learner, engine: Engine) -> None:
    sync = WeightSync(
        learner,
        engine,  # type: ignore[arg-type] # the part of it that is used
        torch.bfloat16,
        probe_prompt=PROBE_PROMPT,
        max_completion_tokens=PROBE_TOKENS,
    )
    proof = sync.prove(0)
    engine.load_ms.clear()
    whole_ms = []
    for version in range(1, REPEATS + 1):
        start = time.perf_counter()
        size = sync.push(version)
        whole_ms.append(1000 * (time.perf_counter() - start))
    sync.close()
    whole, load = median(whole_ms), median(engine.load_ms)
    far = proof.limit / PROBE_TOLERANCE
    print(f"{len(learner.weights(torch.bfloat16))} tensors, {size / 1e6:,.0f} MB in bfloat16")
    print(
        f"sync, median of {REPEATS}: {whole:.0f} ms, of which learner {whole - load:.0f}, engine {load:.0f}"
    )
    print(
        f"proof: gap {proof.gap:.4f} nats, {proof.gap / far:.3f} of the distance to other weights; "
        f"under those {proof.moved_gap:.4f}, {proof.moved_gap / far:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--hidden", type=int, choices=[64, 2048], default=64)
    given = parser.parse_args()
    widths = TINY if given.hidden == TINY.hidden else replace(QWEN3_1_7B, vocabulary=VOCABULARY)
    settings = EngineSettings(name="vllm", max_model_len=256)
    with tempfile.TemporaryDirectory(prefix="vllm-") as folder, asyncio.Runner() as runner:
        model = str(write_model(replace(widths, layers=given.layers), Path(folder) / "model"))
        config = RunConfig.model_validate({"model": model, "learner": {"compute_dtype": "bfloat16"}})
        socket, log = Path(folder) / "engine.sock", Path(folder) / "engine.log"
        with VllmServer.start(model, settings=settings, socket=socket, log=log, cores=(0,)):
            engine = VllmEngine(socket, settings)
            runner.run(engine.attach())
            measure(Learner(config, torch.device("cpu")), Engine(engine, runner))
            runner.run(engine.close())


if __name__ == "__main__":
    main()
