"""Giving the engine the learner's weights, and proving that they arrived."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import psutil
import torch
from safetensors.torch import load_file, save_file

from trainer.engine.checksum import tensor_checksum
from trainer.engine.protocol import GenerationRequest
from trainer.errors import EngineError
from trainer.learner import Learner
from trainer.rollout import Rollouts

# Mean |learner - generator| logprob a token of the probe. bfloat16 keeps 8 bits of mantissa, so
# honest engines differ by some hundredths of a nat; weights of another version by far more.
PROBE_TOLERANCE_NATS = 0.1
_PREFIX = "sweepctl-weights-"
_PROBE_COMPLETIONS = 4
_PROBE_TOKENS = 32


class WeightSync:
    """Hands weights over through a file in shared memory.

    Args:
        learner: whose weights.
        rollouts: whose engine.
        dtype: in which the engine holds them.
        probe_prompt: tokens of a prompt of the task.
        temperature: of the run's sampling.
    """

    def __init__(
        self,
        learner: Learner,
        rollouts: Rollouts,
        dtype: torch.dtype,
        *,
        probe_prompt: list[int],
        temperature: float,
    ) -> None:
        self._probe_prompt = probe_prompt
        self._temperature = temperature
        self._learner = learner
        self._rollouts = rollouts
        self._dtype = dtype
        self._directory = _shared_directory()

    @property
    def handed_over(self) -> Path:
        """The weights that the engine holds, as a file."""
        return self._directory / "weights.safetensors"

    def push(self, version: int) -> int:
        """Load the learner's weights into the engine as `version`.

        Returns:
            Bytes handed over.

        Raises:
            EngineError: what the engine loaded is not what the learner holds.
        """
        weights = self._learner.weights(self._dtype)
        self.handed_over.unlink(missing_ok=True)  # an engine may still have the last one mapped
        save_file(weights, self.handed_over)
        return self._load(weights, version)

    def push_file(self, path: Path, version: int) -> None:
        """Load older weights than the learner's, which a checkpoint kept; see `push`."""
        # Another file, not the same one written over: an engine may still have that mapped.
        shutil.copyfile(path, self.handed_over.with_suffix(".partial"))
        self.handed_over.with_suffix(".partial").replace(self.handed_over)
        self._load(load_file(path), version)

    def _load(self, weights: Mapping[str, torch.Tensor], version: int) -> int:
        expected = {name: tensor_checksum(tensor) for name, tensor in weights.items()}
        loaded = self._rollouts.load_weights(self.handed_over, version)
        if loaded != expected:
            wrong = sorted(
                name for name in expected.keys() | loaded.keys() if expected.get(name) != loaded.get(name)
            )
            raise EngineError(
                f"policy version {version}: the engine loaded other weights than the learner's: {wrong}"
            )
        return sum(tensor.nbytes for tensor in weights.values())

    def prove(self, version: int) -> float:
        """Load the learner's weights as `version` and check that the engine computes with them.

        Checksums prove what was handed over, not what is computed with: an engine that keeps a copy of
        some tensor passes them. So other weights are loaded first, every tensor of them moved, and the
        engine's logprobs must agree with the learner's under those and then under the right ones. That
        finds an engine that kept its old weights, or tensors that matter to the probe's tokens.

        Returns:
            The mean absolute difference a token under the right weights, in nats.

        Raises:
            EngineError: it is above `PROBE_TOLERANCE_NATS` under either.
        """
        with self._learner.perturbed():
            self.push(version)
            self._probe()
        self.push(version)
        return self._probe()

    def _probe(self) -> float:
        """Sample a few tokens and compare the engine's logprobs of them with the learner's.

        Returns:
            The mean absolute difference a token, in nats.

        Raises:
            EngineError: it is above `PROBE_TOLERANCE_NATS`.
        """
        request = GenerationRequest(
            token_ids=self._probe_prompt,
            n=_PROBE_COMPLETIONS,
            max_tokens=_PROBE_TOKENS,
            temperature=self._temperature,
            seed=0,
        )
        gaps: list[float] = []
        for completion in self._rollouts.sample([request])[0]:
            learner = self._learner.logprobs(self._probe_prompt, completion.token_ids)
            gaps += [abs(a - b) for a, b in zip(learner, completion.logprobs, strict=True)]
        if fmean(gaps) > PROBE_TOLERANCE_NATS:
            raise EngineError(
                f"the engine's logprobs differ from the learner's by {fmean(gaps):.3f} nats a token, "
                f"more than {PROBE_TOLERANCE_NATS}: it does not compute with the weights it was given"
            )
        return fmean(gaps)

    def close(self) -> None:
        """Remove the file from shared memory."""
        shutil.rmtree(self._directory, ignore_errors=True)


def _shared_directory() -> Path:
    """A new folder in shared memory; those of processes that were killed are removed."""
    parent = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*"):
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent))
