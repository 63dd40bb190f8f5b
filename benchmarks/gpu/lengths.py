"""How long completions are. Random weights end a text nowhere, so each is asked for with a length drawn."""

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from trainer.engine.protocol import (
    Completion,
    Engine,
    EngineCounters,
    GenerationAborted,
    GenerationError,
    GenerationRequest,
    Weights,
)


@dataclass(frozen=True)
class LengthDistribution:
    """Log-normal, cut at the most tokens that a completion may have.

    Attributes:
        median_tokens: before the cut.
        sigma: standard deviation of the logarithm.
    """

    median_tokens: float
    sigma: float

    def draw(self, seed: int, most: int) -> int:
        """The length of the completion with this sampling seed: from 1 to `most` tokens."""
        drawn = random.Random(f"length {seed}").lognormvariate(math.log(self.median_tokens), self.sigma)
        return min(most, max(1, round(drawn)))


@dataclass(frozen=True)
class Sampled:
    """A finished completion, in tokens."""

    prompt: int
    asked: int
    got: int


class DrawnLengths:
    """An engine that samples each completion as long as is drawn for it; else it is the engine it is given.

    A group becomes one request for each of its completions. They keep their sampling seeds, which decide the
    lengths too: a prompt's completions are as long in every run. What asks for fewer tokens than
    `max_completion_tokens`, as the probe of the weights does, is passed on as it is.

    Attributes:
        sampled: the completions of all groups that were finished.
    """

    def __init__(self, engine: Engine, lengths: LengthDistribution, max_completion_tokens: int) -> None:
        self._engine = engine
        self._lengths = lengths
        self._most = max_completion_tokens
        self.description = engine.description
        self.takes_tensors = engine.takes_tensors
        self.sampled: list[Sampled] = []

    async def generate(self, request: GenerationRequest) -> list[Completion]:
        """Sample a group; a completion is truncated where what was drawn for it reached the cut."""
        if request.max_tokens < self._most:
            return await self._engine.generate(request)
        parts = [self._part(request, place) for place in range(request.n)]
        outcomes = await asyncio.gather(*map(self._engine.generate, parts), return_exceptions=True)
        completions = _joined(outcomes)
        self.sampled += [
            Sampled(len(request.token_ids), part.max_tokens, len(completion.token_ids))
            for part, completion in zip(parts, completions, strict=True)
        ]
        return [replace(c, truncated=len(c.token_ids) == request.max_tokens) for c in completions]

    async def attach(self) -> None:
        """As the engine does."""
        await self._engine.attach()

    async def load_weights(self, weights: Weights, version: int) -> dict[str, str]:
        """As the engine does."""
        return await self._engine.load_weights(weights, version)

    async def abort_all(self) -> None:
        """As the engine does."""
        await self._engine.abort_all()

    async def counters(self) -> EngineCounters:
        """The engine's."""
        return await self._engine.counters()

    async def close(self) -> None:
        """As the engine does."""
        await self._engine.close()

    def _part(self, request: GenerationRequest, place: int) -> GenerationRequest:
        seed = request.seed + place
        return replace(request, n=1, seed=seed, max_tokens=self._lengths.draw(seed, request.max_tokens))


def _joined(outcomes: Sequence[list[Completion] | BaseException]) -> list[Completion]:
    """The completions of a group from its parts.

    Raises:
        GenerationAborted: some part was aborted; with the completions of all.
        BaseException: what some part failed with, of an engine that is gone rather than of a request.
    """
    failed = [o for o in outcomes if isinstance(o, BaseException) and not isinstance(o, GenerationAborted)]
    if failed:
        raise min(failed, key=lambda error: isinstance(error, GenerationError))
    completions: list[Completion] = []
    for outcome in outcomes:
        if isinstance(outcome, GenerationAborted):
            completions += outcome.completions
        elif not isinstance(outcome, BaseException):
            completions += outcome
    if any(isinstance(outcome, GenerationAborted) for outcome in outcomes):
        raise GenerationAborted(completions)
    return completions
