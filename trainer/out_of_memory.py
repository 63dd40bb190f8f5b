"""Running out of memory, explained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from trainer.config import RunConfig
from trainer.errors import TrainingError

# The CPU's allocator raises a plain RuntimeError; so does a std::bad_alloc that passes through torch.
_SIGNS = ("can't allocate memory", "not enough memory", "bad_alloc")


@contextmanager
def out_of_memory_explained(doing: str, remedies: Sequence[str]) -> Iterator[None]:
    """Says what could not be done, and what would help.

    Raises:
        TrainingError: memory ran out inside.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_device = isinstance(error, torch.OutOfMemoryError)
        if not (on_device or isinstance(error, MemoryError) or any(sign in str(error) for sign in _SIGNS)):
            raise
        said = str(error).split("\n")[0] or "MemoryError"
        shared = ["lower engine.memory_utilization, if the engine shares the device"] if on_device else []
        raise TrainingError(
            f"out of memory while {doing}; {', or '.join([*remedies, *shared])}\n({said})"
        ) from error


def pass_remedies(config: RunConfig, sequences: int) -> list[str]:
    """What takes less memory in a forward and backward pass over so many sequences."""
    ways = []
    if sequences > 1:
        ways.append(f"lower learner.tokens_per_micro_batch (now {config.learner.tokens_per_micro_batch})")
    else:
        ways.append(f"lower sampling.max_completion_tokens (now {config.sampling.max_completion_tokens})")
    if not config.learner.gradient_checkpointing:
        ways.append("set learner.gradient_checkpointing: true")
    return ways + weight_remedies(config)


def weight_remedies(config: RunConfig) -> list[str]:
    """What takes less memory for weights, gradients and optimizer state."""
    if config.lora.rank:
        return [f"lower lora.rank (now {config.lora.rank})"]
    return ["train adapters only, with lora.rank: 16"]
