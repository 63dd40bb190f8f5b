"""A model of Qwen3's architecture with random weights, and a tokenizer of its vocabulary's size."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from trainer.builtin import MODEL_DIR

SEED = 0


@dataclass(frozen=True)
class Architecture:
    """A Qwen3 by its sizes; input and output embedding are one."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_dim: int
    vocabulary: int
    context: int

    @property
    def layer_parameters(self) -> int:
        """Weights of all layers' matrices: without embedding and norms."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.key_value_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def head_parameters(self) -> int:
        """Weights of the output embedding."""
        return self.vocabulary * self.hidden


QWEN3_1_7B = Architecture(
    layers=28,
    hidden=2048,
    intermediate=6144,
    heads=16,
    key_value_heads=8,
    head_dim=128,
    vocabulary=151_936,
    context=32_768,
)
TINY = Architecture(
    layers=2,
    hidden=64,
    intermediate=128,
    heads=2,
    key_value_heads=1,
    head_dim=32,
    vocabulary=1024,
    context=1024,
)


def write_model(architecture: Architecture, folder: Path) -> Path:
    """Save it as a Hugging Face folder in bfloat16, unless it is there already, and return that folder.

    Weights are drawn as Qwen3's own were before its training, with the seed `SEED`. No token ends a text: a
    completion is as long as it is asked to be.
    """
    if folder.exists():
        return folder
    # Slow to import, and needed once.
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, Qwen3Config  # noqa: PLC0415

    config = Qwen3Config(
        vocab_size=architecture.vocabulary,
        hidden_size=architecture.hidden,
        intermediate_size=architecture.intermediate,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        num_key_value_heads=architecture.key_value_heads,
        head_dim=architecture.head_dim,
        max_position_embeddings=architecture.context,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        model.save_pretrained(partial)
        _write_tokenizer(architecture, partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _write_tokenizer(architecture: Architecture, folder: Path) -> None:
    """The built-in tokenizer without its end of text, and with words that nothing is encoded as.

    So every token that may be sampled has a text of its own, as with the tokenizer of a real model.
    """
    tokenizer = json.loads((MODEL_DIR / "tokenizer.json").read_bytes())
    tokens = tokenizer["model"]["vocab"]
    # Ġ is how a byte-level tokenizer writes a space. No merge leads to these.
    tokens.update({f"Ġw{number}": number for number in range(len(tokens), architecture.vocabulary)})
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    settings = json.loads((MODEL_DIR / "tokenizer_config.json").read_bytes())
    del settings["eos_token"]
    settings["model_max_length"] = architecture.context
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
