"""The built-in task: generated word problems in GSM8K's format."""

from trainer.builtin.problems import PROMPT, generate
from trainer.config import TaskSettings
from trainer.errors import ConfigError
from trainer.rewards import exact_match
from trainer.tasks import Problem, Task

DEFAULT_PROBLEMS = 10_000
_SEED = 1  # of the problems, not of the run: every run sees the same problems


class Arithmetic(Task):
    """Problems of `trainer.builtin`, from its training split."""

    stop = ("\n\n",)

    def __init__(self, settings: TaskSettings) -> None:
        if settings.path is not None:
            raise ConfigError(
                f"task.path is {settings.path!r}, but arithmetic makes its own problems; leave it out"
            )
        generated = generate("train", settings.problems or DEFAULT_PROBLEMS, seed=_SEED)
        self.problems = [
            Problem(f"arithmetic-{i}", PROMPT.format(question=problem.question), problem.answer)
            for i, problem in enumerate(generated)
        ]

    def reward(self, problem: Problem, completion: str) -> float:
        """1 when the completion's last `#### N` equals the answer's, else 0."""
        return exact_match(completion, problem.answer)
