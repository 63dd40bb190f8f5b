"""SYNTHETIC rollouts.jsonl and train.log beside a synthetic trace: sums, some of them wrong."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from trainer.records import Fate, Group, Record, RolloutCompletion, RolloutGroup, Step

KEPT_OF = 8
"""One group in so many is kept."""


def write_rollouts(path: Path, records: Sequence[Record], completions: int) -> None:
    """Writes what `GroupLog` keeps of the groups of a trace."""
    groups = (group for group in records if isinstance(group, Group) and group.group % KEPT_OF == 0)
    lines = (synthetic_group(group, completions).model_dump_json() + "\n" for group in groups)
    path.write_text("".join(lines))


def write_log(path: Path, records: Sequence[Record], steps: int) -> None:
    """Writes a line per step, as the trainer prints them."""
    path.write_text("".join(_log_lines(records, steps)))


def synthetic_group(group: Group, completions: int) -> RolloutGroup:
    """Sums with every second completion wrong; all right in a group that was filtered."""
    rng = np.random.default_rng(group.group)
    one, other = (int(number) for number in rng.integers(10, 99, 2))
    trained = group.fate is Fate.TRAINED
    answers = [one + other + (trained and place % 2) for place in range(completions)]
    return RolloutGroup(
        attempt=group.attempt,
        group=group.group,
        prompt_id=group.prompt_id,
        fate=group.fate,
        step=group.step,
        version_min=group.version_min,
        prompt=f"What is {one} + {other}?\n",
        answer=str(one + other),
        completions=[_completion(rng, f"{one}+{other}", answer, one + other, trained) for answer in answers],
    )


def _completion(
    rng: np.random.Generator, terms: str, answer: int, right: int, trained: bool
) -> RolloutCompletion:
    tokens = [*terms, " =", *f" {answer}", ".\n", "<|end|>"]
    logprobs = -rng.exponential(0.3, len(tokens))
    return RolloutCompletion(
        text="".join(tokens[:-1]),
        token_ids=[int(token) for token in rng.integers(0, 512, len(tokens))],
        tokens=tokens,
        generator_logprobs=[float(value) for value in logprobs],
        learner_logprobs=[
            float(value) for value in np.minimum(logprobs + rng.normal(0, 0.02, len(tokens)), 0)
        ]
        if trained
        else None,
        advantage=(1.0 if answer == right else -1.0) if trained else None,
        reward=float(answer == right),
        truncated=False,
    )


def _log_lines(records: Sequence[Record], steps: int) -> Iterator[str]:
    for record in records:
        if isinstance(record, Step):
            yield f"step {record.policy_version}/{steps}  reward {record.reward_mean:.3f}\n"
