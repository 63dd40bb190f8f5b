"""From groups to micro-batches of tensors, with as little padding as sorting by length allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

import torch

from trainer.buffer import Group

_ADVANTAGE_EPSILON = 1e-4


@dataclass(frozen=True)
class Trajectory:
    """One completion with its prompt."""

    token_ids: list[int]
    prompt_tokens: int
    generator_logprobs: list[float]
    advantage: float


@dataclass(frozen=True)
class MicroBatch:
    """S sequences padded to L, and the T completion tokens among them.

    Attributes:
        input_ids: [S, L], padded on the right.
        attention_mask: [S, L], 1 for tokens.
        positions: [T], index into the flattened [S * L] positions whose output predicts each token.
        targets: [T], the tokens.
        generator_logprobs: [T], by the engine that sampled them.
        advantages: [T], of the completion each belongs to.
        weights: [T], 1 / (tokens of its completion * completions of the whole step), so that the
            weighted sum over a step is GRPO's mean over completions of the mean over tokens.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    generator_logprobs: torch.Tensor
    advantages: torch.Tensor
    weights: torch.Tensor


def group_advantages(rewards: Sequence[float]) -> list[float]:
    """Rewards normalised within their group: (r - mean) / (std + 1e-4) (GRPO, arXiv:2402.03300, eq. 3)."""
    mean, deviation = fmean(rewards), pstdev(rewards)
    return [(reward - mean) / (deviation + _ADVANTAGE_EPSILON) for reward in rewards]


def trajectories(groups: Sequence[Group]) -> list[Trajectory]:
    """All completions of the groups of a step."""
    return [
        Trajectory(
            token_ids=group.prompt_token_ids + completion.token_ids,
            prompt_tokens=len(group.prompt_token_ids),
            generator_logprobs=completion.logprobs,
            advantage=advantage,
        )
        for group in groups
        for completion, advantage in zip(group.completions, group_advantages(group.rewards), strict=True)
    ]


def micro_batches(
    all_trajectories: Sequence[Trajectory], tokens: int, pad_token_id: int, device: torch.device
) -> list[MicroBatch]:
    """Split a step into micro-batches of at most `tokens` padded tokens, longest sequences first.

    A sequence longer than `tokens` gets a micro-batch of its own.
    """
    batches: list[list[Trajectory]] = []
    for sequence in sorted(all_trajectories, key=lambda s: len(s.token_ids), reverse=True):
        if batches and len(batches[-1][0].token_ids) * (len(batches[-1]) + 1) <= tokens:
            batches[-1].append(sequence)
        else:
            batches.append([sequence])
    return [_micro_batch(batch, len(all_trajectories), pad_token_id, device) for batch in batches]


def _micro_batch(
    batch: Sequence[Trajectory], completions_in_step: int, pad_token_id: int, device: torch.device
) -> MicroBatch:
    length = len(batch[0].token_ids)
    input_ids = torch.full((len(batch), length), pad_token_id)
    attention_mask = torch.zeros((len(batch), length), dtype=torch.long)
    positions: list[int] = []
    targets: list[int] = []
    generator_logprobs: list[float] = []
    advantages: list[float] = []
    weights: list[float] = []
    for row, sequence in enumerate(batch):
        end = len(sequence.token_ids)
        count = end - sequence.prompt_tokens
        input_ids[row, :end] = torch.tensor(sequence.token_ids)
        attention_mask[row, :end] = 1
        # The output at position p predicts the token at p + 1.
        positions += range(row * length + sequence.prompt_tokens - 1, row * length + end - 1)
        targets += sequence.token_ids[sequence.prompt_tokens :]
        generator_logprobs += sequence.generator_logprobs
        advantages += [sequence.advantage] * count
        weights += [1 / (count * completions_in_step)] * count
    return MicroBatch(
        input_ids=input_ids.to(device),
        attention_mask=attention_mask.to(device),
        positions=torch.tensor(positions, device=device),
        targets=torch.tensor(targets, device=device),
        generator_logprobs=torch.tensor(generator_logprobs, device=device),
        advantages=torch.tensor(advantages, device=device),
        weights=torch.tensor(weights, device=device),
    )
