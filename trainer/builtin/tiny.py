"""A randomly initialised model for tests of the engines: it knows nothing and loads at once."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from trainer.builtin import MODEL_DIR
from trainer.builtin.tokenizer import CONTEXT_LENGTH


def write_tiny_model(directory: Path, seed: int = 0) -> Path:
    """Save a one-layer Qwen3 with the built-in tokenizer as a Hugging Face folder, and return that folder."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=32,  # vLLM's CPU build wants a multiple of 32
        max_position_embeddings=CONTEXT_LENGTH,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        tie_word_embeddings=True,
        # Ten times the default: two seeds then give clearly different probabilities, and few near-ties.
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config)
    model.bfloat16().save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
