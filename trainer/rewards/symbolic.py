"""Answers that are the same mathematically, by math-verify (https://github.com/huggingface/Math-Verify).

Importing this module imports sympy. Comparing can take for ever (`9^{9^9}`), so it belongs into the
verifier's worker processes: math-verify's own time limits need signals and are switched off.
"""

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

from trainer.rewards.answers import final_answer, reference_answer

# It would say in every worker that its time limits are off.
logging.getLogger("math_verify").setLevel(logging.ERROR)

_LATEX = (LatexExtractionConfig(boxed_match_priority=0),)
_PLAIN = (ExprExtractionConfig(),)

_DELIMITED = re.compile(r"\$\$(.+?)\$\$|\$(.+?)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,?\\[,!]\s*)(?=\d{3})")  # as LaTeX sets them: 1{,}000, 1\,000
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
# A number, perhaps with a currency before it and words after: `-$1,234.50`, `1/2 cup`, `7 (seven)`.
# Another number, an operator or a single letter (`5 x`) after it makes it part of an expression.
_NUMBER = re.compile(
    r"(?P<sign>-?)\s*\\?[$€£]?\s*(?P<minus>-?)(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*|\.\d+)"
    r"(?P<denominator>/\d+)?\s*(?P<percent>\\?%)?[].,;:)\"']*(?=$|</|\s+(?!and\b|or\b)\(?[A-Za-z]{2})"
)
# math-verify would add the numbers of a list without commas up: `9 9` would be 18.
_MIXED_NUMBER = re.compile(r"(\d)\s+(\d+)/(\d+)")
_LOOSE_NUMBERS = re.compile(r"\d\s+\d")
# Several letters would otherwise be a product, and a product does not mind its order.
_WORDS = re.compile(r"[A-Za-z]{2,}(?:[ '-][A-Za-z]+)*")


def math_verify(completion: str, answer: str, row: Mapping[str, Any] | None = None) -> float:
    """1.0 when the completion's answer equals the reference's, else 0.0.

    Both are what `final_answer` finds, a reference may also be the bare answer. `1/2`, `0.5`, `50%` and
    `\\frac{1}{2}` are the same, so are `1,000` and `$1000`, and `5` and `5 apples`. As in math-verify
    `50` passes for `50%`, decimals are compared to six places where a fraction meets them, and an answer
    need not be simplified: `1 + 1` is 2.

    Raises:
        ValueError: the reference states no answer, so no completion could be right.
    """
    expected = reference_answer(answer)
    if expected is None:
        raise ValueError(f"the reference solution states no answer: {answer[-80:]!r}")
    given = final_answer(completion)
    if given is None:
        return 0.0
    if given == expected:
        return 1.0
    gold, target = _parse(expected), _parse(given)
    return float(bool(gold and target) and verify(list(gold), list(target), timeout_seconds=None))


@lru_cache(maxsize=64)
def _parse(answer: str) -> tuple[Any, ...]:
    """What math-verify makes of an answer; empty when it is no mathematics."""
    answer = _THOUSANDS.sub(",", answer.strip("* "))  # asterisks: Markdown's bold
    if delimited := _DELIMITED.match(answer):
        answer = next(part for part in delimited.groups() if part is not None)
    elif not _NUMBER.match(answer):
        answer = _SENTENCE_END.split(answer, maxsplit=1)[0]
    answer = answer.strip()
    if number := _NUMBER.match(answer):
        sign = "-" if number["sign"] or number["minus"] else ""
        digits = number["number"].replace(",", "").rstrip(".")
        text = f"{sign}{digits}{number['denominator'] or ''}{'%' if number['percent'] else ''}"
        return tuple(parse(text, _PLAIN, fallback_mode="no_fallback", parsing_timeout=None))
    if _WORDS.fullmatch(answer):
        answer = f"\\text{{{answer}}}"
    answer = _MIXED_NUMBER.sub(r"\1\\frac{\2}{\3}", answer)
    if _LOOSE_NUMBERS.search(answer):
        return ()
    return tuple(parse(f"${answer}$", _LATEX, fallback_mode="no_fallback", parsing_timeout=None))
