"""The built-in task: generated word problems in GSM8K's format."""

from dataclasses import asdict

from trainer.builtin.problems import Split, generate
from trainer.settings import TaskSettings
from trainer.tasks.problem import Problem, Task

DEFAULT_PROBLEMS = 10_000
STOP = ("\n\n",)
_SEED = 1  # of the problems, not of the run: every run sees the same problems


def load_arithmetic(settings: TaskSettings, held_out: int) -> Task:
    """Problems of `trainer.builtin`; its splits share no question."""
    return Task(
        problems=_problems("train", settings.problems or DEFAULT_PROBLEMS, "arithmetic"),
        held_out=_problems("test", held_out, "arithmetic-held-out"),
        stop=STOP if settings.stop is None else settings.stop,
        reward=settings.reward or "exact_match",
        reward_timeout_s=settings.reward_timeout_s,
    )


def _problems(split: Split, count: int, name: str) -> list[Problem]:
    return [
        Problem(f"{name}-{number}", problem.prompt, problem.answer, asdict(problem))
        for number, problem in enumerate(generate(split, count, seed=_SEED))
    ]
