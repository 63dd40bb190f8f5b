"""Tasks: where prompts come from and what a right answer is.

    rows (a file or the hub) -> template -> Problem -> Task, its prompts encoded once

A task's own file says what its rows are; what they have in common is in `rows` and `question_answer`.
"""

from trainer.errors import ConfigError
from trainer.rewards import check_reward
from trainer.settings import TaskSettings
from trainer.tasks.problem import Problem, Task
from trainer.tasks.prompts import token_ids

__all__ = ["Problem", "Task", "load_task", "token_ids"]

# Keys that say nothing about a task: a value of their own there is a mistake.
_MEANINGLESS = {
    "arithmetic": (
        *("path", "subset", "split", "held_out_path", "held_out_split"),
        *("question_column", "answer_column", "template"),
    ),
    "gsm8k": ("subset", "split", "held_out_split", "question_column", "answer_column"),
    "dataset": (),
}
_WHY = {
    "arithmetic": "makes its own problems",
    "gsm8k": "always is openai/gsm8k, or files in its format; `name: dataset` takes any",
}


def load_task(settings: TaskSettings, held_out: int = 0) -> Task:
    """Load a task's training problems and at most so many held-out ones.

    Held-out problems whose question is trained on are left out, and the next ones taken.

    Raises:
        ConfigError: its data cannot be found or read, or its reward does not exist.
    """
    for key in _MEANINGLESS[settings.name]:
        value = getattr(settings, key)
        if value != TaskSettings.model_fields[key].default:
            raise ConfigError(
                f"task.{key} is {value!r}, but {settings.name} {_WHY[settings.name]}; leave it out"
            )
    if settings.reward is not None:
        check_reward(settings.reward)
    # Imported here: a task needs only its own libraries.
    if settings.name == "arithmetic":
        from trainer.tasks.arithmetic import load_arithmetic  # noqa: PLC0415

        return load_arithmetic(settings, held_out)
    if settings.name == "gsm8k":
        from trainer.tasks.gsm8k import load_gsm8k  # noqa: PLC0415

        return load_gsm8k(settings, held_out)
    from trainer.tasks.dataset import load_dataset  # noqa: PLC0415

    return load_dataset(settings, held_out)
