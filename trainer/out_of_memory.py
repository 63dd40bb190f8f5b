"""Running out of memory, explained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from trainer.config import RunConfig
from trainer.errors import TrainingError

# The CPU's allocator raises a plain RuntimeError; so does a std::bad_alloc that passes through torch.
_SIGNS = ("can't allocate memory", "not enough memory", "bad_alloc")
# What is not allocated by torch itself (a CUDA context, a library's workspace) fails with errors of its own.
_DEVICE_SIGNS = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, here or on the device."""
    return isinstance(error, MemoryError) or _is_on_device(error) or _says(error, _SIGNS)


@contextmanager
def out_of_memory_explained(doing: str, remedies: Sequence[str]) -> Iterator[None]:
    """Says what could not be done, and what would help.

    Raises:
        TrainingError: memory ran out inside.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        said = str(error).split("\n")[0] or "MemoryError"
        on_device = _is_on_device(error)
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
    if config.learner.gradient_checkpointing is not True:
        ways.append("set learner.gradient_checkpointing: true")
    return ways + weight_remedies(config)


def weight_remedies(config: RunConfig) -> list[str]:
    """What takes less memory for weights, gradients and optimizer state."""
    if config.lora.rank:
        return [f"lower lora.rank (now {config.lora.rank})"]
    return ["train adapters only, with lora.rank: 16"]


def _is_on_device(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or _says(error, _DEVICE_SIGNS)


def _says(error: BaseException, signs: Sequence[str]) -> bool:
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
