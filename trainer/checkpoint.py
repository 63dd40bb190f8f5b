"""Policies in Hugging Face format: loadable by transformers, vLLM and lm-eval."""

import copy
from pathlib import Path

import torch
from safetensors.torch import save_file

from trainer.learner import Learner


def export_policy(learner: Learner, folder: Path, dtype: torch.dtype) -> None:
    """Write the policy as the engine serves it into an existing folder; adapters are merged."""
    save_file(learner.weights(dtype), folder / "model.safetensors", metadata={"format": "pt"})
    config = copy.deepcopy(learner.model.config)
    config.dtype = dtype
    config.architectures = [type(learner.model).__name__]
    config.save_pretrained(folder)
    if learner.model.generation_config is not None:
        learner.model.generation_config.save_pretrained(folder)
    learner.tokenizer.save_pretrained(folder)
