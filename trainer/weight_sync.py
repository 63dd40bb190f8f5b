"""Giving the engine the learner's weights, and proving that they arrived."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from safetensors.torch import load_file

from trainer.engine.checksum import checksums
from trainer.engine.protocol import Completion, GenerationRequest
from trainer.errors import EngineError
from trainer.handover import DeviceBuffer, Handover, SharedMemoryFile
from trainer.learner import Learner
from trainer.rollout import Rollouts

# Of the distance between two sets of weights, see `prove`. Honest bfloat16 engines are at 0.01 to 0.04 of
# it (benchmarks/sync.py), one with a single old tensor at 0.2 for a model of one layer; deeper ones hide a
# single tensor better.
PROBE_TOLERANCE = 0.1
_PROBE_COMPLETIONS = 4
_PROBE_TOKENS = 32


@dataclass(frozen=True)
class Proof:
    """How near the engine computes to the learner with the same weights.

    Attributes:
        gap: mean absolute difference of their logprobs of a token, in nats.
        moved_gap: the same under the moved weights that were tried first.
        limit: what would have been too much of either.
    """

    gap: float
    moved_gap: float
    limit: float


class WeightSync:
    """Hands weights over: a file in shared memory, or tensors where the engine takes them.

    Args:
        learner: whose weights.
        rollouts: whose engine.
        dtype: in which the engine holds them.
        probe_prompt: tokens of a prompt of the task.
        max_completion_tokens: what a prompt leaves room for.
    """

    def __init__(
        self,
        learner: Learner,
        rollouts: Rollouts,
        dtype: torch.dtype,
        *,
        probe_prompt: list[int],
        max_completion_tokens: int,
    ) -> None:
        self._probe_prompt = probe_prompt
        self._probe_tokens = min(_PROBE_TOKENS, max_completion_tokens)
        self._learner = learner
        self._rollouts = rollouts
        self._dtype = dtype
        self._handover: Handover = (
            DeviceBuffer(learner.device) if rollouts.takes_tensors else SharedMemoryFile()
        )

    def handed_over(self) -> Path:
        """The weights that the engine holds, as a file."""
        return self._handover.file()

    def push(self, version: int) -> int:
        """Load the learner's weights into the engine as `version`.

        Returns:
            Bytes handed over.

        Raises:
            EngineError: what the engine loaded is not what the learner holds.
        """
        return self._push(self._learner.live_weights(self._dtype), version)

    def push_file(self, path: Path, version: int) -> None:
        """Load older weights than the learner's, which a checkpoint kept; see `push`."""
        self._push(load_file(path), version)

    def _push(self, weights: Mapping[str, torch.Tensor], version: int) -> int:
        tensors = self._handover.put(weights, self._dtype)
        with ThreadPoolExecutor(1) as meanwhile:
            summing = meanwhile.submit(checksums, tensors)
            loaded = self._rollouts.load_weights(self._handover.held, version)
        expected = summing.result()
        if loaded != expected:
            wrong = sorted(
                name for name in expected.keys() | loaded.keys() if expected.get(name) != loaded.get(name)
            )
            raise EngineError(
                f"policy version {version}: the engine loaded other weights than the learner's: {wrong}"
            )
        return sum(tensor.nbytes for tensor in tensors.values())

    def prove(self, version: int) -> Proof:
        """Load the learner's weights as `version` and check that the engine computes with them.

        Checksums prove what was handed over, not what is computed with: an engine that keeps a copy of
        some tensor passes them. So other weights are loaded first, every tensor of them moved, and the
        engine's logprobs must be the learner's under those and then under the right ones. How near is
        near depends on the model: its depth makes bfloat16 noise grow, and so do its logits. So the
        measure is how far the two sets of weights are apart on the same tokens. That finds an engine that
        kept its old weights, or tensors that matter to the probe's tokens.

        Returns:
            What was found.

        Raises:
            EngineError: it is above `PROBE_TOLERANCE` of that distance under either.
        """
        with self._learner.perturbed():
            self.push(version)
            moved = self._sample()
            by_learner = self._logprobs(moved)
        self.push(version)
        moved_gap = _mean_difference(by_learner, _flat(moved))
        limit = PROBE_TOLERANCE * _mean_difference(by_learner, self._logprobs(moved))
        _require_near(moved_gap, limit)
        right = self._sample()
        gap = _mean_difference(self._logprobs(right), _flat(right))
        _require_near(gap, limit)
        return Proof(gap, moved_gap, limit)

    def _sample(self) -> list[Completion]:
        request = GenerationRequest(
            token_ids=self._probe_prompt,
            n=_PROBE_COMPLETIONS,
            max_tokens=self._probe_tokens,
            temperature=1,
            seed=0,
        )
        return self._rollouts.sample([request])[0]

    def _logprobs(self, completions: Sequence[Completion]) -> list[float]:
        return [
            logprob
            for completion in completions
            for logprob in self._learner.logprobs(self._probe_prompt, completion.token_ids, temperature=1)
        ]

    def close(self) -> None:
        """Hold no weights for the engine any more."""
        self._handover.close()


def _flat(completions: Sequence[Completion]) -> list[float]:
    """The engine's logprobs of all tokens."""
    return [logprob for completion in completions for logprob in completion.logprobs]


def _mean_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return fmean(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def _require_near(gap: float, limit: float) -> None:
    if not gap <= limit:
        raise EngineError(
            f"the engine's logprobs differ from the learner's by {gap:.3f} nats a token, more than "
            f"{limit:.3f}: it does not compute with the weights it was given"
        )
