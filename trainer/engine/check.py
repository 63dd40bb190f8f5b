"""`python -m trainer.engine.check --output FILE`: does an engine start here, and answer?

Starts the engine a run would get, samples a few completions with log-probabilities through the client that
runs use, and ends it. The result is one JSON object; exit code 1 and one line on stderr where it fails.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from trainer.engine.protocol import Completion, Engine, GenerationError, GenerationRequest
from trainer.engine.start import start_engine
from trainer.errors import EngineError, SweepctlError
from trainer.models import model_path
from trainer.settings import EngineSettings

_PROMPT = "Q: Ann has 3 apples and buys 4 more. How many has she?\nA:"
_COMPLETIONS, _MAX_TOKENS = 16, 64


@dataclass(frozen=True)
class RoundTrip:
    """What one start and a second request took; the first request warms the engine up."""

    engine: str
    start_s: float
    generate_s: float
    completion_tokens: int
    counted_tokens: int
    """By the engine's own counters."""


def main(
    output: Annotated[Path, typer.Option(help="Where the result goes.")],
    model: Annotated[str, typer.Option(help="As in a run's configuration.")] = "builtin:tiny",
    engine: Annotated[str, typer.Option(help="auto, vllm or transformers.")] = "auto",
    cores: Annotated[str, typer.Option(help="CPU cores the engine may use, such as 0,1.")] = "",
) -> None:
    """Start an engine, sample, and end it."""
    settings = EngineSettings.model_validate({"name": engine})
    try:
        result = asyncio.run(round_trip(model, settings, output.parent, cores))
    except (SweepctlError, GenerationError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    output.write_text(json.dumps(asdict(result)), encoding="utf-8")


async def round_trip(model: str, settings: EngineSettings, directory: Path, cores: str) -> RoundTrip:
    """Start the engine that a run would get, sample twice, and end it.

    Raises:
        EngineError: it does not start, or answers with what is no sample.
    """
    prompt = _prompt(model)
    began = time.monotonic()
    pinned = tuple(map(int, cores.split(","))) if cores else ()
    engine = await asyncio.to_thread(start_engine, model, settings, None, directory, pinned)
    try:
        await engine.attach()
        started = time.monotonic()
        await _sample(engine, prompt, seed=0)
        warm, before = time.monotonic(), await engine.counters()
        completions = await _sample(engine, prompt, seed=1)
        seconds = time.monotonic() - warm
        counted = (await engine.counters()).since(before).completion_tokens
    finally:
        await engine.close()
    tokens = sum(len(completion.token_ids) for completion in completions)
    return RoundTrip(engine.description, started - began, seconds, tokens, counted)


def _prompt(model: str) -> list[int]:
    from transformers import AutoTokenizer  # noqa: PLC0415 - slow to import

    token_ids: list[int] = AutoTokenizer.from_pretrained(model_path(model)).encode(_PROMPT)
    return token_ids


async def _sample(engine: Engine, prompt: list[int], seed: int) -> list[Completion]:
    request = GenerationRequest(
        token_ids=prompt, n=_COMPLETIONS, max_tokens=_MAX_TOKENS, temperature=1.0, seed=seed
    )
    completions = await engine.generate(request)
    for completion in completions:
        if not completion.token_ids or len(completion.logprobs) != len(completion.token_ids):
            raise EngineError("a completion came back without tokens, or not with a log-probability for each")
        if max(completion.logprobs) > 0:
            raise EngineError(f"a log-probability is above 0: {max(completion.logprobs)}")
    return completions


if __name__ == "__main__":
    typer.run(main)
