"""Rewards: from a completion and the reference solution to a number. Found by name, checked at load.

`exact_match` is cheap and safe, and runs in the trainer. Every other reward runs in the worker processes
of `trainer.verifier`, where it may hang or crash without harm.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from trainer.errors import ConfigError
from trainer.rewards.answers import reference_answer
from trainer.rewards.custom import load_function
from trainer.rewards.exact import exact_match, final_number

__all__ = ["Reward", "check_reward", "exact_match", "final_number", "load_reward", "states_answer"]

Reward = Callable[[str, str, Mapping[str, Any]], float]
"""`reward(completion, answer, row) -> float`, finite; a user's own has this signature too."""

_BUILT_IN = ("exact_match", "math_verify")


def check_reward(name: str) -> None:
    """See that a reward exists; a user's own is imported for that.

    Raises:
        ConfigError: there is no such reward, or it cannot be imported.
    """
    if ":" in name:
        load_function(name)
    elif name not in _BUILT_IN:
        near = difflib.get_close_matches(name, _BUILT_IN, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"task.reward {name!r} does not exist{hint} It is {', '.join(_BUILT_IN)}, or a function of your "
            "own as `package.module:function`"
        )


def load_reward(name: str) -> Reward:
    """The function of a reward.

    Raises:
        ConfigError: as `check_reward`.
    """
    check_reward(name)
    if name == "exact_match":
        return exact_match
    if name == "math_verify":
        from trainer.rewards.symbolic import math_verify  # noqa: PLC0415 - imports sympy, which is slow

        return math_verify
    return load_function(name)


def states_answer(reward: str, answer: str) -> bool:
    """Whether some completion could be right by this reward; of a user's own nothing is known."""
    if reward == "exact_match":
        return final_number(answer) is not None
    return reward != "math_verify" or reference_answer(answer) is not None
