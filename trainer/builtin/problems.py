"""Grade-school word problems in GSM8K's format: a question, worked steps, then `#### N`.

GSM8K's `<<a+b=c>>` calculator marks are left out: they would double the length of an answer.
Importing this module needs no torch, so whatever shows or scores problems can use it.
"""

import hashlib
import random
from dataclasses import dataclass
from typing import Literal

from trainer.builtin.templates import TEMPLATES, Sheet

Split = Literal["train", "test"]

PROMPT = "Question: {question}\nAnswer:"
"""What the model is asked. The completion is a space and then the answer, as lm-eval joins them."""

SEPARATOR = "\n\n"
"""What stands between the problems of a few-shot document."""

TEMPLATE_NAMES = tuple(TEMPLATES)
"""The patterns problems are drawn from, equally often."""

# A quarter of all questions are test questions; with fewer, generating a test split would be slow.
_TEST_BYTES = 64
# Consecutive draws that yield nothing new before the supply counts as exhausted.
_MAX_REJECTED = 100_000


@dataclass(frozen=True, slots=True)
class Problem:
    """A question and its answer: worked steps, one a line, then `#### N`.

    `template` names the pattern the problem was drawn from; it is no part of the text.
    """

    question: str
    answer: str
    template: str = ""

    @property
    def prompt(self) -> str:
        """The question as the model is asked it."""
        return PROMPT.format(question=self.question)

    @property
    def document(self) -> str:
        """Prompt and answer joined, as in a few-shot context or a training document."""
        return f"{self.prompt} {self.answer}"

    @property
    def terse_answer(self) -> str:
        """The answer without its steps: only `#### N`."""
        return self.answer[self.answer.rindex("####") :]


def few_shot_prompt(question: str, shots: list[Problem]) -> str:
    """The prompt for a question after worked examples, formatted as lm-eval does it."""
    return SEPARATOR.join([*(shot.document for shot in shots), PROMPT.format(question=question)])


def split_of(question: str) -> Split:
    """The split a question belongs to: a property of its text, so the splits can never overlap."""
    return "test" if hashlib.sha256(question.encode()).digest()[0] < _TEST_BYTES else "train"


def generate(split: Split, count: int, seed: int) -> list[Problem]:
    """The first `count` problems of a split: all different, and the same for the same seed everywhere."""
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    rng = random.Random(f"{split}:{seed}")
    found: dict[str, Problem] = {}
    rejected = 0
    while len(found) < count:
        problem = _draw(rng)
        if problem.question not in found and split_of(problem.question) == split:
            found[problem.question] = problem
            rejected = 0
        else:
            rejected += 1
            if rejected > _MAX_REJECTED:
                raise ValueError(f"there are not {count} different problems; found {len(found)}")
    return list(found.values())


def _draw(rng: random.Random) -> Problem:
    sheet = Sheet(rng)
    template = TEMPLATE_NAMES[sheet.number(0, len(TEMPLATE_NAMES) - 1)]
    question = TEMPLATES[template](sheet)
    answer = "\n".join([*sheet.steps, f"#### {sheet.result}"])
    return Problem(question, answer, template)
