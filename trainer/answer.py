"""A completion as rewards see it."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase


def answer_text(tokenizer: PreTrainedTokenizerBase, token_ids: list[int], stop: Sequence[str]) -> str:
    """The text of sampled tokens without special ones, up to the first stop string, as lm-eval takes it."""
    text = str(tokenizer.decode(token_ids, skip_special_tokens=True))
    ends = [found for string in stop if (found := text.find(string)) >= 0]
    return text[: min(ends)] if ends else text
