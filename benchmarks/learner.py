"""What a learner's step costs beside the bare model: python benchmarks/learner.py

All sides train the built-in model on the same tokens in the same micro-batches, on one thread, and end with
AdamW. They take turns, so that whatever else runs on the machine slows all of them.

- plain: `model(...)` with an attention mask, and cross-entropy over all logits, as one would write it.
- lean: without the mask, which padding on the right does not need, and the head only where a completion
  token is predicted. The learner does the same, so what it takes beyond this is its own.
- learner: `forward_backward` and `optimizer_step`: batching, log-probabilities, entropy, loss, clipping and
  metrics included.
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
from transformers import PreTrainedModel
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
PAD = 1  # none of the tokens below is that

Loss = Callable[[PreTrainedModel, MicroBatch], Tensor]


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
    """The least that trains on a step's tokens, with `loss` for what a micro-batch adds."""

    def __init__(self, config: RunConfig, step: list[Group], loss: Loss) -> None:
        self._config = config
        self._loss = loss
        self._model = Learner(config, CPU).model
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=config.optim.lr, fused=True)
        budget = config.learner.tokens_per_micro_batch
        self._batches = micro_batches(trajectories(step, config), budget, PAD, device=CPU)
        self.padded_tokens = sum(batch.input_ids.numel() for batch in self._batches)

    def step(self) -> None:
        bfloat16 = self._config.learner.compute_dtype == "bfloat16"
        for batch in self._batches:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                loss = self._loss(self._model, batch)
            loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def plain(model: PreTrainedModel, batch: MicroBatch) -> Tensor:
    """Cross-entropy over every position, those that predict no completion token ignored."""
    labels = torch.full((batch.input_ids.numel(),), -100)
    labels[batch.positions] = batch.targets
    logits = model(input_ids=batch.input_ids, attention_mask=(batch.input_ids != PAD).long()).logits
    return F.cross_entropy(logits.float().flatten(0, 1), labels, reduction="sum")


def lean(model: PreTrainedModel, batch: MicroBatch) -> Tensor:
    """The same loss, no more computed for it than it needs."""
    hidden = model.get_decoder()(input_ids=batch.input_ids, use_cache=False).last_hidden_state
    logits = model.get_output_embeddings()(hidden.flatten(0, 1)[batch.positions])
    return F.cross_entropy(logits.float(), batch.targets, reduction="sum")


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def compare(dtype: str) -> tuple[dict[str, list[float]], int, int]:
    """Seconds of each repeat by side, then tokens of a step without and with padding."""
    config = RunConfig.model_validate({"learner": {"compute_dtype": dtype}})
    step = groups(seed=0)
    learner = Learner(config, CPU)

    def learn() -> None:
        learner.forward_backward(step)
        learner.optimizer_step()

    bare = {"plain": Bare(config, step, plain), "lean": Bare(config, step, lean)}
    sides = {**{name: side.step for name, side in bare.items()}, "learner": learn}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(REPEATS + 1):
        for name in list(sides)[:: 1 if repeat % 2 else -1]:
            times[name].append(seconds(sides[name]))
    warm = {name: values[1:] for name, values in times.items()}
    tokens = sum(len(s.token_ids) for s in trajectories(step, config))
    return warm, tokens, bare["lean"].padded_tokens


def main() -> None:
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    load_before = os.getloadavg()[0]
    table = Table(
        "dtype", "plain tokens/s", "lean", "learner", "learner / plain", "learner / lean", "padding"
    )
    for dtype in ("float32", "bfloat16"):
        times, tokens, padded = compare(dtype)
        table.add_row(
            dtype,
            *(f"{tokens / median(values):,.0f}" for values in times.values()),
            *(_ratio(times[bare], times["learner"]) for bare in ("plain", "lean")),
            f"{padded / tokens - 1:.1%}",
        )
    console = Console()
    console.print(table)
    console.print(
        f"{GROUPS * COMPLETIONS} completions a step, one thread, medians of {REPEATS} alternating repeats; "
        f"load average {load_before:.1f} before, {os.getloadavg()[0]:.1f} after, on {os.cpu_count()} cores"
    )


def _ratio(bare: list[float], ours: list[float]) -> str:
    ratio = median(theirs / own for theirs, own in zip(bare, ours, strict=True))
    return f"{ratio:.2f}{'' if ratio >= TARGET else f'  (below {TARGET})'}"


if __name__ == "__main__":
    main()
