"""The number a solution ends with: cheap, and enough for GSM8K and the built-in problems."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

# With and without a fraction apart, so that a long number that leads to no match is not tried at every split.
_NUMBER = r"-?(?:[\d,]*\.\d+|[\d,]*\d)"
# In order of trust: the format the reference solutions use, LaTeX's, and lm-eval's few-shot answers'.
_ANSWERS = (
    re.compile(rf"####\s*\$?({_NUMBER})"),
    re.compile(rf"\\boxed\{{\s*\\?\$?({_NUMBER})\s*\}}"),
    re.compile(rf"[Tt]he answer is:?\s*\$?({_NUMBER})"),
)


def final_number(text: str) -> Decimal | None:
    """The number a solution ends with, or None when it states none in a known format.

    Looks for the last `#### N`, else the last `\\boxed{N}`, else the last `The answer is N`.
    """
    for pattern in _ANSWERS:
        if found := pattern.findall(text):
            try:
                return Decimal(found[-1].replace(",", ""))
            except InvalidOperation:
                return None
    return None


def exact_match(completion: str, answer: str, row: Mapping[str, Any] | None = None) -> float:
    """1.0 when both end with the same number, else 0.0; `72`, `72.0` and `$72` are the same.

    Raises:
        ValueError: the reference solution states no answer, so no completion could be right.
    """
    expected = final_number(answer)
    if expected is None:
        raise ValueError(f"the reference solution states no answer: {answer[-80:]!r}")
    return float(final_number(completion) == expected)
