"""Data of the arithmetic_cot task: held-out problems, and worked examples from the training split."""

from dataclasses import asdict
from typing import Any

import datasets

from trainer.builtin.problems import Split, generate

TEST_PROBLEMS = 2000
SHOTS = 16
_SEED = 0


def load(**_metadata: Any) -> datasets.DatasetDict:  # noqa: ANN401 - lm-eval passes the task's metadata
    """The splits lm-eval asks for; `train` holds only what few-shot contexts are made of."""
    return datasets.DatasetDict({"train": _split("train", SHOTS), "test": _split("test", TEST_PROBLEMS)})


def _split(split: Split, count: int) -> datasets.Dataset:
    problems = generate(split, count, seed=_SEED)
    return datasets.Dataset.from_list([{**asdict(problem), "prompt": problem.prompt} for problem in problems])
