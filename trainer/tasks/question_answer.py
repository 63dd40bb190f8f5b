"""Problems from rows with a question and an answer: what gsm8k and dataset have in common."""

from collections.abc import Iterable, Iterator
from itertools import islice

from trainer.errors import ConfigError
from trainer.rewards import states_answer
from trainer.settings import TaskSettings
from trainer.tasks.problem import Problem, Task
from trainer.tasks.rows import Row
from trainer.tasks.template import Template


def build_task(
    settings: TaskSettings,
    rows: Iterable[Row],
    held_out_rows: Iterable[Row],
    held_out: int,
    stop: tuple[str, ...],
) -> Task:
    """A task of the first rows, with at most `held_out` held-out problems whose questions are not trained on.

    Args:
        settings: the task's.
        rows: to train on.
        held_out_rows: not read when `held_out` is 0.
        held_out: how many held-out problems to take.
        stop: where the settings give none.

    Raises:
        ConfigError: a row lacks a column, has an answer that no completion could match, or none is left.
    """
    make = _ProblemMaker(settings)
    trained: set[str] = set()
    problems = []
    for number, row in enumerate(islice(rows, settings.problems)):
        trained.add(make.question(row))
        problems.append(make.problem(row, f"{settings.name}-{number}"))
    if not problems:
        raise ConfigError(f"{settings.name}: there are no problems in {settings.path or 'its dataset'}")
    return Task(
        problems=problems,
        held_out=_held_out(make, settings.name, held_out_rows, held_out, trained) if held_out else [],
        stop=stop if settings.stop is None else settings.stop,
        reward=make.reward,
        reward_timeout_s=settings.reward_timeout_s,
    )


def _held_out(
    make: "_ProblemMaker", name: str, rows: Iterable[Row], count: int, trained: set[str]
) -> list[Problem]:
    def untrained() -> Iterator[Problem]:
        for number, row in enumerate(rows):
            if make.question(row) not in trained:
                yield make.problem(row, f"{name}-held-out-{number}")

    problems = list(islice(untrained(), count))
    if not problems:
        raise ConfigError(
            f"{name}: no problem is left to be held out: there are none, or all of them are trained on. Set "
            "task.held_out_path to other problems, or leave held_out.every_steps out"
        )
    return problems


class _ProblemMaker:
    """Turns rows into problems as the settings say."""

    def __init__(self, settings: TaskSettings) -> None:
        self.reward = settings.reward or "math_verify"
        self._question = settings.question_column
        self._answer = settings.answer_column
        self._template = Template(settings.template)

    def question(self, row: Row) -> str:
        """The question with its whitespace made even, so that equal ones are found."""
        return " ".join(_text(row, self._question, "question_column").split())

    def problem(self, row: Row, prompt_id: str) -> Problem:
        answer = _text(row, self._answer, "answer_column")
        if not states_answer(self.reward, answer):
            raise ConfigError(
                f"{row.where} ({prompt_id}): {self.reward} finds no final answer such as `#### 42` or "
                f"`\\boxed{{42}}` in {answer[-60:]!r}, so no completion could be right. Mend the row, or set "
                "task.answer_column or task.reward"
            )
        question = _text(row, self._question, "question_column")
        return Problem(prompt_id, self._template.render(row, question), answer, row.columns)


def _text(row: Row, column: str, key: str) -> str:
    if column not in row.columns:
        raise ConfigError(
            f"{row.where}: there is no column {column!r}; set task.{key} to one of: {', '.join(row.columns)}"
        )
    value = row.columns[column]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConfigError(
            f"{row.where}: column {column!r} must be a text or a number, found {value!r:.60}; set task.{key} "
            "to another column, or mend the row"
        )
    return str(value)
