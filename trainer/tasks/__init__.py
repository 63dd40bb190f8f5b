"""Tasks: where prompts come from and what a right answer is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trainer.config import TaskSettings


@dataclass(frozen=True)
class Problem:
    """One prompt of a task.

    Attributes:
        prompt_id: unique within the task, stable across runs.
        prompt: the text given to the model.
        answer: the reference solution; its last line is `#### answer`.
    """

    prompt_id: str
    prompt: str
    answer: str


class Task(Protocol):
    """A set of training problems with a verifier."""

    problems: Sequence[Problem]
    stop: tuple[str, ...]
    """Strings that end a completion."""

    def reward(self, problem: Problem, completion: str) -> float:
        """The reward of one completion, in [0, 1]."""
        ...


def load_task(settings: TaskSettings) -> Task:
    """Load a task's training problems.

    Raises:
        ConfigError: when its data cannot be found or read.
    """
    # Imported here: a task needs only its own libraries.
    if settings.name == "arithmetic":
        from trainer.tasks.arithmetic import Arithmetic  # noqa: PLC0415

        return Arithmetic(settings)
    from trainer.tasks.gsm8k import Gsm8k  # noqa: PLC0415

    return Gsm8k(settings)
