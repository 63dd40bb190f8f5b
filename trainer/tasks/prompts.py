"""Prompts as the model sees them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trainer.errors import ConfigError
from trainer.tasks.problem import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def token_ids(
    problems: Sequence[Problem], tokenizer: "PreTrainedTokenizerBase", room: int
) -> list[list[int]]:
    """Each problem's prompt in tokens, with the special tokens that the tokenizer puts around a text.

    Args:
        problems: of one task.
        tokenizer: the model's; it encodes all prompts in one call.
        room: most tokens a prompt may have: `engine.max_model_len - sampling.max_completion_tokens`.

    Raises:
        ConfigError: some prompt is longer, or has no token at all.
    """
    if not problems:
        return []
    encoded: list[list[int]] = tokenizer([problem.prompt for problem in problems])["input_ids"]
    empty = [problem for tokens, problem in zip(encoded, problems, strict=True) if not tokens]
    if empty:
        raise ConfigError(
            f"{len(empty)} of {len(problems)} prompts are empty, the first of them {empty[0].prompt_id}, and "
            "this tokenizer puts no token before a text: nothing would predict a completion's first token. "
            "Mend the question, or give task.template some text of its own"
        )
    if too_long := sum(len(tokens) > room for tokens in encoded):
        tokens, problem = max(
            ((len(tokens), problem) for tokens, problem in zip(encoded, problems, strict=True)),
            key=lambda pair: pair[0],
        )
        raise ConfigError(
            f"{too_long} of {len(problems)} prompts are too long: {problem.prompt_id} has {tokens} tokens, "
            f"but engine.max_model_len - sampling.max_completion_tokens leaves room for {room}. Raise "
            f"engine.max_model_len by {tokens - room}, or lower sampling.max_completion_tokens"
        )
    return encoded
