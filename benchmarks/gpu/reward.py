"""A reward for completions without sense."""

import hashlib
from collections.abc import Mapping
from typing import Any


def by_hash(completion: str, answer: str, row: Mapping[str, Any]) -> float:
    """A number in [0, 1) that only the text decides: completions of a group differ, so none is filtered."""
    return int.from_bytes(hashlib.blake2b(completion.encode(), digest_size=8).digest()) / 2**64
