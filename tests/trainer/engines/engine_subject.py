"""An engine under test, called from plain functions."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trainer.engine.protocol import EngineCounters, GenerationRequest
from trainer.errors import EngineError

PROMPT = "Q: how many apples are left if Tom eats three of his 12 pears?\nA:"
CONTEXT = 1024


@dataclass
class Subject:
    """An engine, and how exactly it computes."""

    engine: Any
    runner: asyncio.Runner
    tolerance: float
    """Mean absolute error of a token's logprob, in nats, that its arithmetic explains."""

    def call(self, coroutine):
        return self.runner.run(coroutine)

    def load(self, folder, version):
        return self.call(self.engine.load_weights(Path(folder), version))

    def refuses(self, folder, message):
        with pytest.raises(EngineError, match=message):
            self.load(folder, 1)

    def generate(self, prompt, n=1, *, max_tokens=16, temperature=1.0, seed=0, stop=()):
        request = GenerationRequest(
            prompt, n=n, max_tokens=max_tokens, temperature=temperature, seed=seed, stop=stop
        )
        return self.call(self.engine.generate(request))

    def counters(self):
        return self.call(self.engine.counters())

    async def sampled(self, tokens):
        """Wait until so many more tokens have been sampled."""
        wanted = (await self.engine.counters()).completion_tokens + tokens
        async with asyncio.timeout(120):  # so long only where the machine has much else to do
            while (await self.engine.counters()).completion_tokens < wanted:
                await asyncio.sleep(0.005)


def work(*groups):
    """The counters of (prompt, completions)."""
    total = EngineCounters()
    for prompt, completions in groups:
        total = total.plus(len(prompt), completions)
    return total


def mean_gap(found, expected):
    return sum(abs(a - b) for a, b in zip(found, expected, strict=True)) / len(expected)
