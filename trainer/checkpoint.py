"""Checkpoints in Hugging Face format: loadable by transformers, vLLM and lm-eval."""

import copy
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from trainer.learner import Learner


def save_checkpoint(learner: Learner, directory: Path, dtype: torch.dtype) -> int:
    """Write the policy as the engine serves it; the folder appears whole or not at all.

    Returns:
        Bytes written.
    """
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(learner.weights(dtype), partial / "model.safetensors", metadata={"format": "pt"})
    config = copy.deepcopy(learner.model.config)
    config.dtype = dtype
    config.architectures = [type(learner.model).__name__]
    config.save_pretrained(partial)
    if learner.model.generation_config is not None:
        learner.model.generation_config.save_pretrained(partial)
    learner.tokenizer.save_pretrained(partial)
    size = 0
    for path in partial.iterdir():
        size += path.stat().st_size
        with path.open("rb") as file:
            os.fsync(file.fileno())
    # A folder of this name is from an attempt that was cut off later; its steps are done again.
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)
    return size
