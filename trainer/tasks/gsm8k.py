"""GSM8K (Cobbe et al., 2021, arXiv:2110.14168), from the hub or from local JSONL."""

import json
from collections.abc import Iterable
from pathlib import Path

from trainer.config import TaskSettings
from trainer.errors import ConfigError
from trainer.rewards import exact_match, final_number
from trainer.tasks import Problem, Task

HUB_NAME = "openai/gsm8k"
# The format of lm-eval's gsm8k_cot, with which the checkpoints are evaluated.
PROMPT = "Q: {question}\nA:"


class Gsm8k(Task):
    """The training split: 7,473 problems on the hub, or those of a local file."""

    stop = ("Q:", "\n\n\n")

    def __init__(self, settings: TaskSettings) -> None:
        rows = _local(Path(settings.path)) if settings.path else _hub()
        self.problems = [
            Problem(f"gsm8k-{i}", PROMPT.format(question=question), answer)
            for i, (question, answer) in enumerate(rows)
            if settings.problems is None or i < settings.problems
        ]
        for problem in self.problems:
            if final_number(problem.answer) is None:
                raise ConfigError(
                    f"{settings.path or HUB_NAME}: {problem.prompt_id} has an answer without a final "
                    f"`#### N`, so no completion could be right: {problem.answer[-60:]!r}"
                )
        if not self.problems:
            raise ConfigError(f"gsm8k: no problems in {settings.path or HUB_NAME}")

    def reward(self, problem: Problem, completion: str) -> float:
        """1 when the completion's final number equals the answer's, else 0."""
        return exact_match(completion, problem.answer)


def _hub() -> list[tuple[str, str]]:
    import datasets  # noqa: PLC0415 - slow to import, and not needed for a local file

    try:
        split = datasets.load_dataset(HUB_NAME, "main", split="train")
    except Exception as error:
        raise ConfigError(
            f"gsm8k: {HUB_NAME} could not be loaded from the hub ({type(error).__name__}: {error}). "
            "Download its train.jsonl and give it as `task: {name: gsm8k, path: train.jsonl}`"
        ) from error
    return [(row["question"], row["answer"]) for row in split]


def _local(path: Path) -> Iterable[tuple[str, str]]:
    if not path.is_file():
        raise ConfigError(f"gsm8k: task.path {path} is no file")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                yield row["question"], row["answer"]
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"{path}:{number}: every line must be a JSON object with `question` and `answer` "
                    f"({type(error).__name__}: {error})"
                ) from error
