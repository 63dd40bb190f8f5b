"""What a learner's step costs beside the bare model: python benchmarks/learner.py

Both train the built-in model on the same tokens in the same micro-batches, on one thread. The bare side is
`model(...)`, cross-entropy over the completion tokens, backward, AdamW. The learner's side is
`forward_backward` and `optimizer_step`: batching, log-probabilities, entropy, loss, clipping and metrics
included. They take turns, so that whatever else runs on the machine slows both.
"""

import os
import random
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers.utils import logging

from trainer.batch import MicroBatch, micro_batches, trajectories
from trainer.config import RunConfig
from trainer.engine.protocol import Completion
from trainer.frontier import Prompt
from trainer.group import Group
from trainer.learner import Learner
from trainer.tasks import Problem

GROUPS, COMPLETIONS = 16, 8
PROMPT_TOKENS, COMPLETION_TOKENS = (60, 120), (30, 120)
REPEATS = 7
TARGET = 0.85
CPU = torch.device("cpu")


def groups(seed: int) -> list[Group]:
    rng = random.Random(seed)

    def tokens(least: int, most: int) -> list[int]:
        return [rng.randrange(2, 500) for _ in range(rng.randint(least, most))]

    def completion() -> Completion:
        answer = tokens(*COMPLETION_TOKENS)
        return Completion(answer, [-6.0] * len(answer), truncated=False, version_min=0, version_max=0)

    return [
        Group(
            number=number,
            prompt=Prompt(ordinal=number, index=number, epoch=0),
            problem=Problem("", "", ""),
            prompt_token_ids=tokens(*PROMPT_TOKENS),
            version_min=0,
            dispatched_s=0.0,
            completions=[completion() for _ in range(COMPLETIONS)],
            rewards=[float(i % 2) for i in range(COMPLETIONS)],
        )
        for number in range(GROUPS)
    ]


class Bare:
    """The least that trains on a step's tokens."""

    def __init__(self, config: RunConfig, step: list[Group]) -> None:
        self._config = config
        self._model = Learner(config, CPU).model
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=config.optim.lr, fused=True)
        budget = config.learner.tokens_per_micro_batch
        batches = micro_batches(trajectories(step, config), budget, pad_token_id=1, device=CPU)
        self.padded_tokens = sum(batch.input_ids.numel() for batch in batches)
        self._batches = [(batch.input_ids, *self._mask_and_labels(batch)) for batch in batches]

    def step(self) -> None:
        bfloat16 = self._config.learner.compute_dtype == "bfloat16"
        for input_ids, attention_mask, labels in self._batches:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                logits = self._model(input_ids=input_ids, attention_mask=attention_mask).logits
            F.cross_entropy(logits.float().flatten(0, 1), labels, reduction="sum").backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    @staticmethod
    def _mask_and_labels(batch: MicroBatch) -> tuple[Tensor, Tensor]:
        labels = torch.full((batch.input_ids.numel(),), -100)
        labels[batch.positions] = batch.targets
        return (batch.input_ids != 1).long(), labels


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def compare(dtype: str) -> tuple[list[float], list[float], int, int]:
    """Seconds of each repeat, bare and learner, then tokens of a step without and with padding."""
    config = RunConfig.model_validate({"learner": {"compute_dtype": dtype}})
    step = groups(seed=0)
    bare, learner = Bare(config, step), Learner(config, CPU)

    def learn() -> None:
        learner.forward_backward(step)
        learner.optimizer_step()

    times: list[tuple[float, float]] = []
    for repeat in range(REPEATS + 1):
        pair = (bare.step, learn) if repeat % 2 else (learn, bare.step)
        first, second = seconds(pair[0]), seconds(pair[1])
        times.append((first, second) if repeat % 2 else (second, first))
    warm = times[1:]
    tokens = sum(len(s.token_ids) for s in trajectories(step, config))
    return [bare_s for bare_s, _ in warm], [learner_s for _, learner_s in warm], tokens, bare.padded_tokens


def main() -> None:
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    load_before = os.getloadavg()[0]
    table = Table("dtype", "bare tokens/s", "learner tokens/s", "learner / bare", "padding")
    for dtype in ("float32", "bfloat16"):
        bare_s, learner_s, tokens, padded = compare(dtype)
        ratio = median(bare / ours for bare, ours in zip(bare_s, learner_s, strict=True))
        table.add_row(
            dtype,
            f"{tokens / median(bare_s):,.0f}",
            f"{tokens / median(learner_s):,.0f}",
            f"{ratio:.2f}{'' if ratio >= TARGET else f'  (below {TARGET})'}",
            f"{padded / tokens - 1:.1%}",
        )
    console = Console()
    console.print(table)
    console.print(
        f"{GROUPS * COMPLETIONS} completions a step, one thread, medians of {REPEATS} alternating repeats; "
        f"load average {load_before:.1f} before, {os.getloadavg()[0]:.1f} after, on {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
