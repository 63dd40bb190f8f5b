"""What a task consists of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One prompt of a task.

    Attributes:
        prompt_id: unique within the task, stable across runs.
        prompt: the text given to the model.
        answer: the reference solution.
        row: everything the dataset says of it, for a reward of one's own.
    """

    prompt_id: str
    prompt: str
    answer: str
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """Problems and what ends and verifies their completions.

    Attributes:
        problems: those that are trained on.
        held_out: those of `held_out`; none unless asked for.
        stop: strings that end a completion.
        reward: `exact_match`, `math_verify`, or a dotted path `package.module:function`.
        reward_timeout_s: time limit for one completion.
    """

    problems: Sequence[Problem]
    held_out: Sequence[Problem]
    stop: tuple[str, ...]
    reward: str
    reward_timeout_s: float
