"""Where a solution states its answer, as text. Needs no computer algebra, so it also checks at load."""

import re
from collections.abc import Iterator

MAX_CHARACTERS = 500
"""What is longer is no answer, but text that ran on; parsing it could take for ever."""

_HASHES = re.compile(r"####\s*([^\n]*)")
_BOX = re.compile(r"\\boxed\s*\{")
_SENTENCE = re.compile(r"[Tt]he (?:final )?answer is:?\s*([^\n]*)")

_LATEX_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]{2,}")
_WORDS_OF_AN_ANSWER = 3


def final_answer(text: str) -> str | None:
    """What a solution gives as its answer, or None when it marks nothing as such.

    That is the rest of the line after the last `####`, else the content of the last closed `\\boxed{}`,
    else the rest of the line after the last `The answer is`. lm-eval's GSM8K filters read `#### N`
    and `The answer is N` (strict-match) or else the last number anywhere (flexible-extract). Only the
    strict way is followed here: a number that happens to be said last in a reasoning must earn nothing.
    Where lm-eval takes the first mark, this takes the last, so that a solution may correct itself.
    """
    for found in (_HASHES.findall(text), list(_boxed(text))[-1:], _SENTENCE.findall(text)):
        if found and (answer := found[-1].strip()):
            return str(answer) if len(answer) <= MAX_CHARACTERS else None
    return None


def reference_answer(text: str) -> str | None:
    """What a reference solution gives as its answer, or None when no completion could match it.

    An answer column often holds the bare answer: a text without any mark is one, unless it has
    several lines or reads like a sentence.
    """
    if (marked := final_answer(text)) is not None:
        return marked
    bare = text.strip()
    if not bare or "\n" in bare or len(bare) > MAX_CHARACTERS:
        return None
    words = _WORD.findall(_LATEX_COMMAND.sub(" ", bare))
    return bare if len(words) <= _WORDS_OF_AN_ANSWER else None


def _boxed(text: str) -> Iterator[str]:
    """Contents of every `\\boxed{...}` whose brace is closed, in order."""
    for box in _BOX.finditer(text):
        depth = 1
        for end in range(box.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                yield text[box.end() : end]
                break
