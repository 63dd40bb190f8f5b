"""A completion as rewards see it, and token by token as a reader does."""

from collections.abc import Callable, Sequence
from functools import cache

from transformers import PreTrainedTokenizerBase


def answer_text(tokenizer: PreTrainedTokenizerBase, token_ids: list[int], stop: Sequence[str]) -> str:
    """The text of sampled tokens without special ones, up to the first stop string, as lm-eval takes it."""
    text = str(tokenizer.decode(token_ids, skip_special_tokens=True))
    ends = [found for string in stop if (found := text.find(string)) >= 0]
    return text[: min(ends)] if ends else text


def token_texts(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[int]], list[str]]:
    """A function that gives the text of each of some tokens by itself, special ones included.

    A character that is spread over several tokens stands in none of them: each gives U+FFFD.
    """

    @cache
    def one(token_id: int) -> str:
        return str(tokenizer.decode([token_id], skip_special_tokens=False))

    return lambda token_ids: [one(token_id) for token_id in token_ids]
