"""What the trainer and the evaluation need of a rollout engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:  # slow to import, and only named here
    from torch import Tensor

Weights: TypeAlias = "Path | Mapping[str, Tensor]"
"""A safetensors file, a folder of them, or tensors by their names there."""

UNKNOWN_VERSION = -1
"""Of an engine before anybody has loaded weights into it under a name."""


@dataclass(frozen=True)
class GenerationRequest:
    """A group's worth of sampling: `n` completions of one prompt.

    Attributes:
        token_ids: the prompt.
        n: completions to draw.
        max_tokens: cut-off of each completion.
        temperature: 0 is greedy. Logprobs are those of the distribution at this temperature.
        seed: of the first completion; the others use seed + 1, seed + 2, …
        stop: strings that end a completion; what they matched stays in its tokens.
    """

    token_ids: Sequence[int]
    n: int
    max_tokens: int
    temperature: float
    seed: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Completion:
    """One sampled answer.

    Attributes:
        token_ids: the sampled tokens, the end-of-text token included when it was reached.
        logprobs: log-probability of each by the weights that sampled it.
        truncated: cut off by `max_tokens`.
        version_min: policy version that sampled the first token.
        version_max: policy version that sampled the last token.
    """

    token_ids: list[int]
    logprobs: list[float]
    truncated: bool
    version_min: int
    version_max: int


@dataclass(frozen=True)
class EngineCounters:
    """The engine's own count of its work since it started, what was aborted later included."""

    requests: int = 0
    """Completions that hold a token."""
    prompt_tokens: int = 0
    """Prompt tokens, counted once for every completion that holds a token."""
    completion_tokens: int = 0

    def plus(self, prompt_tokens: int, completions: Sequence[Completion]) -> "EngineCounters":
        """With one more group, whose prompt has `prompt_tokens` tokens."""
        begun = sum(bool(completion.token_ids) for completion in completions)
        return EngineCounters(
            requests=self.requests + begun,
            prompt_tokens=self.prompt_tokens + prompt_tokens * begun,
            completion_tokens=self.completion_tokens + sum(len(c.token_ids) for c in completions),
        )

    def since(self, earlier: "EngineCounters") -> "EngineCounters":
        """The work done after `earlier` was read."""
        return EngineCounters(
            requests=self.requests - earlier.requests,
            prompt_tokens=self.prompt_tokens - earlier.prompt_tokens,
            completion_tokens=self.completion_tokens - earlier.completion_tokens,
        )


class GenerationError(Exception):
    """The engine is alive but could not serve this one request; the group fails, the run goes on."""


class GenerationAborted(Exception):  # noqa: N818 - an outcome that was asked for
    """The request was ended by `abort_all`.

    Attributes:
        completions: as far as they came; some may hold no token.
    """

    def __init__(self, completions: Sequence[Completion]) -> None:
        super().__init__("aborted")
        self.completions = list(completions)


class Engine(Protocol):
    """A rollout engine. Methods raise EngineError when the engine itself is gone or wrong."""

    description: str
    """Name and version, for the trace."""
    takes_tensors: bool
    """Whether `load_weights` takes tensors on the learner's device; else it takes files only."""

    async def attach(self) -> None:
        """Take the engine over; whatever an earlier owner left running there is ended."""
        ...

    async def generate(self, request: GenerationRequest) -> list[Completion]:
        """Sample a group.

        Raises:
            GenerationError: only this request is at fault.
            GenerationAborted: `abort_all` ended it.
        """
        ...

    async def load_weights(self, weights: Weights, version: int) -> dict[str, str]:
        """Load weights as policy `version`.

        What is running stands still meanwhile and goes on under the new weights, what it had in the KV
        cache computed again; the logprobs of its earlier tokens stay those of the weights that sampled
        them. Nothing computed with other weights is ever used again.

        Args:
            weights: see `Weights`; tensors must not change meanwhile.
            version: their name.

        Returns:
            The checksum of every tensor as it was handed to the model.

        Raises:
            EngineError: when a parameter of the model was not among them.
        """
        ...

    async def abort_all(self) -> None:
        """End everything that is running or waiting; each `generate` raises GenerationAborted."""
        ...

    async def counters(self) -> EngineCounters:
        """The engine's own counters."""
        ...

    async def close(self) -> None:
        """Let go of the engine; end it when this object started it."""
        ...
