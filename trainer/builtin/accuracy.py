"""How often a model folder solves held-out built-in problems, by plain transformers generation.

This is how the built-in model's own figures are made. A sweep's evaluation goes through lm-eval instead.
"""

import json
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from trainer.builtin.problems import PROMPT, Problem, few_shot_prompt, generate

_TEST_SEED = 0
_SHOTS_SEED = 0
_SAMPLING_SEED = 0
# The longest answer has 65 tokens; a model that has not stopped by then is not going to be right.
_MAX_NEW_TOKENS = 80
_BATCH = 100
# lm-eval's strict match for GSM8K.
_FINAL_NUMBER = re.compile(r"#### (-?[0-9.,]+)")
_FILE = "accuracy.json"


@dataclass(frozen=True)
class Greedy:
    """Accuracy of the most likely completions."""

    shots: int
    problems: int
    accuracy: float


@dataclass(frozen=True)
class Sampled:
    """What sampling at temperature 1 gives: how often right, how often ever right, how often GRPO learns.

    `mixed` is the share of problems some of whose completions are right and some wrong; only those give
    GRPO an advantage to learn from.
    """

    problems: int
    completions: int
    pass_at_1: float
    pass_at_n: float
    mixed: float


@dataclass(frozen=True)
class Solver:
    """A model that solves problems, with its tokenizer."""

    # Any: transformers' own annotation of generate() fits none of its models.
    model: Any
    tokenizer: PreTrainedTokenizerBase

    @classmethod
    def load(cls, directory: Path) -> "Solver":
        """Load a Hugging Face folder, in float32: rounding must not decide between two tokens."""
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        return cls(model, AutoTokenizer.from_pretrained(directory))

    def greedy(self, problems: int, shots: int) -> Greedy:
        """Greedy accuracy on the first `problems` test problems, after `shots` fixed worked examples."""
        verdicts = self._solve(problems, shots, completions=None)
        return Greedy(shots, problems, accuracy=sum(map(sum, verdicts)) / problems)

    def sampled(self, problems: int, completions: int) -> Sampled:
        """Sampled accuracy on the first `problems` test problems, without examples."""
        torch.manual_seed(_SAMPLING_SEED)
        verdicts = self._solve(problems, 0, completions)
        return Sampled(
            problems,
            completions,
            pass_at_1=sum(map(sum, verdicts)) / (problems * completions),
            pass_at_n=sum(map(any, verdicts)) / problems,
            mixed=sum(any(group) and not all(group) for group in verdicts) / problems,
        )

    @torch.no_grad()
    def _solve(self, count: int, shots: int, completions: int | None) -> list[list[bool]]:
        """Whether each completion of each problem is right; without `completions`, the one greedy one."""
        problems = generate("test", count, _TEST_SEED)
        examples = generate("train", shots, _SHOTS_SEED)
        verdicts: list[list[bool]] = []
        for start in range(0, count, _BATCH):
            batch = problems[start : start + _BATCH]
            encoded = self.tokenizer(
                [few_shot_prompt(problem.question, examples) for problem in batch],
                return_tensors="pt",
                padding=True,
                padding_side="left",
            )
            how = (
                {"do_sample": False}
                if completions is None
                else {"do_sample": True, "top_k": 0, "num_return_sequences": completions}
            )
            output = self.model.generate(**encoded, **how, max_new_tokens=_MAX_NEW_TOKENS)
            texts = self.tokenizer.batch_decode(
                output[:, encoded.input_ids.shape[1] :], skip_special_tokens=True
            )
            each = completions or 1
            verdicts += [
                [is_right(text, problem) for text in texts[index * each : (index + 1) * each]]
                for index, problem in enumerate(batch)
            ]
        return verdicts


def is_right(completion: str, problem: Problem) -> bool:
    """Whether a completion's first `#### N` gives the problem's number."""
    found = _FINAL_NUMBER.search(completion)
    return found is not None and f"#### {found[1].replace(',', '')}" == problem.terse_answer


def record(directory: Path, command: str, seed: int, first_stage: Greedy) -> None:
    """Measure a freshly made model folder and write the figures beside it, as `accuracy.json`.

    `first_stage` is the first stage's accuracy, about the most that GRPO can bring back.
    """
    solver = Solver.load(directory)
    figures = {
        "command": command,
        "seed": seed,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "prompt": PROMPT,
        "first_stage": asdict(first_stage),
        "greedy": [
            asdict(solver.greedy(problems, shots))
            for problems, shots in ((500, 0), (200, 0), (200, 1), (200, 4), (200, 8))
        ],
        "sampled": asdict(solver.sampled(problems=100, completions=8)),
    }
    (directory / _FILE).write_text(json.dumps(figures, indent=2) + "\n")
