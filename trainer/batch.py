"""From groups to micro-batches of tensors, with little padding."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, count, pairwise

import torch
from torch import Tensor

from trainer.config import RunConfig
from trainer.group import Group
from trainer.loss.advantages import group_advantages

# What a pass costs besides its tokens (casts of the weights, adding up gradients, launches), in tokens:
# splitting a micro-batch pays only where it saves more padding. On CPU 64 and 256 cannot be told apart.
_PASS_TOKENS = 256
# Packed rows are a multiple of the blocks that flex attention computes, and at least two of them, so that it
# is compiled for few lengths: one block alone, or a row without padding at its end, would each be a case.
_BLOCK_TOKENS = 128


@dataclass(frozen=True)
class Trajectory:
    """One completion with its prompt.

    Attributes:
        token_ids: prompt and completion.
        source: number of its group, and its place in it.
    """

    token_ids: list[int]
    prompt_tokens: int
    generator_logprobs: list[float]
    advantage: float
    source: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class TrainedCompletion:
    """What the learner made of a completion in a step's first pass.

    Attributes:
        advantage: that it was trained with.
        learner_logprobs: [t], of its tokens.
    """

    advantage: float
    learner_logprobs: Tensor


@dataclass(frozen=True)
class MicroBatch:
    """S sequences in R rows of L tokens, and the T completion tokens among them.

    Padded, there is a row a sequence (R = S), padded on the right. Packed, they lie end to end in one row,
    padded at its end, and `position_ids` start at 0 with each of them: that is how models of transformers
    know which tokens may see each other.

    There is no attention mask: a causal model's tokens never see what is to their right, and what it
    computes for the padding is not used.

    Attributes:
        input_ids: [R, L].
        position_ids: [R, L] where sequences are packed, else None: columns.
        positions: [T], index into the flattened [R * L] positions whose output predicts each token.
        targets: [T], the tokens.
        generator_logprobs: [T], by the engine that sampled them.
        advantages: [T], of the completion each belongs to.
        completion: [T], the sequence each belongs to, 0 to S - 1.
        first: no output before this position of a row predicts a completion token.
        sequences: S, those it was made of.
    """

    input_ids: Tensor
    position_ids: Tensor | None
    positions: Tensor
    targets: Tensor
    generator_logprobs: Tensor
    advantages: Tensor
    completion: Tensor
    first: int
    sequences: Sequence[Trajectory]

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What a model is called with."""
        places = {} if self.position_ids is None else {"position_ids": self.position_ids}
        return {"input_ids": self.input_ids, **places}

    def trained(self, learner_logprobs: Tensor) -> dict[tuple[int, int], TrainedCompletion]:
        """By group and place, the completions with the learner's logprobs [T]."""
        parts = learner_logprobs.split([len(sequence.generator_logprobs) for sequence in self.sequences])
        return {
            sequence.source: TrainedCompletion(sequence.advantage, part)
            for sequence, part in zip(self.sequences, parts, strict=True)
        }


def trajectories(groups: Sequence[Group], config: RunConfig) -> list[Trajectory]:
    """The completions of some groups that are trained on.

    With `sampling.truncated: mask` those cut off are left out, after they counted in the baseline.
    """
    masked = config.sampling.truncated == "mask"
    return [
        Trajectory(
            token_ids=group.prompt_token_ids + completion.token_ids,
            prompt_tokens=len(group.prompt_token_ids),
            generator_logprobs=completion.logprobs,
            advantage=advantage,
            source=(group.number, place),
        )
        for group in groups
        for place, (completion, advantage) in enumerate(
            zip(group.completions, group_advantages(group.rewards, config.loss.name), strict=True)
        )
        if not (masked and completion.truncated)
    ]


def micro_batches(
    sequences: Sequence[Trajectory],
    tokens: int,
    pad_token_id: int,
    device: torch.device,
    packed: bool = False,
) -> list[MicroBatch]:
    """Split sequences into micro-batches of at most `tokens` tokens with padding.

    Packed they stay in order; else the longest come first. A sequence longer than `tokens` gets a
    micro-batch of its own.
    """
    ordered = sequences if packed else sorted(sequences, key=lambda s: len(s.token_ids), reverse=True)
    lengths = [len(s.token_ids) for s in ordered]
    bounds = _packed_splits(lengths, tokens) if packed else _padded_splits(lengths, tokens)
    return [micro_batch(ordered[start:end], pad_token_id, device, packed) for start, end in pairwise(bounds)]


def micro_batch(
    sequences: Sequence[Trajectory], pad_token_id: int, device: torch.device, packed: bool = False
) -> MicroBatch:
    """One micro-batch of these sequences."""
    lengths = [len(sequence.token_ids) for sequence in sequences]
    length = _packed_length(sum(lengths)) if packed else max(lengths)
    starts = accumulate(lengths, initial=0) if packed else count(0, length)
    positions: list[int] = []
    targets: list[int] = []
    generator_logprobs: list[float] = []
    advantages: list[float] = []
    completion: list[int] = []
    for place, (sequence, start) in enumerate(zip(sequences, starts, strict=False)):
        prompt, end = sequence.prompt_tokens, len(sequence.token_ids)
        # The output at position p predicts the token at p + 1.
        positions += range(start + prompt - 1, start + end - 1)
        targets += sequence.token_ids[prompt:]
        generator_logprobs += sequence.generator_logprobs
        advantages += [sequence.advantage] * (end - prompt)
        completion += [place] * (end - prompt)
    rows = [s.token_ids for s in sequences]
    if packed:
        rows = [list(chain.from_iterable(rows))]
    padded = [row + [pad_token_id] * (length - len(row)) for row in rows]
    # The padding at the end of a packed row is one more sequence.
    places = [p for n in (*lengths, length - sum(lengths)) for p in range(n)] if packed else None
    return MicroBatch(
        input_ids=torch.tensor(padded, device=device),
        position_ids=None if places is None else torch.tensor([places], device=device),
        positions=torch.tensor(positions, dtype=torch.long, device=device),
        targets=torch.tensor(targets, dtype=torch.long, device=device),
        generator_logprobs=torch.tensor(generator_logprobs, dtype=torch.float32, device=device),
        advantages=torch.tensor(advantages, dtype=torch.float32, device=device),
        completion=torch.tensor(completion, dtype=torch.long, device=device),
        first=min(sequence.prompt_tokens for sequence in sequences) - 1,
        sequences=sequences,
    )


def _padded_splits(lengths: Sequence[int], tokens: int) -> list[int]:
    """Where to split lengths, longest first, so that padded tokens and passes cost least together.

    Returns:
        The bounds of the micro-batches, from 0 to len(lengths).
    """
    cost = [0]
    start_of = [0]
    for end in range(1, len(lengths) + 1):
        choices = []
        for start in range(end - 1, -1, -1):
            padded = lengths[start] * (end - start)
            if padded > tokens and end - start > 1:
                break
            choices.append((cost[start] + padded + _PASS_TOKENS, start))
        best, start = min(choices)
        cost.append(best)
        start_of.append(start)
    bounds = [len(lengths)]
    while bounds[-1] > 0:
        bounds.append(start_of[bounds[-1]])
    return bounds[::-1]


def _packed_length(tokens: int) -> int:
    """Of a row with so many tokens of sequences: there is always padding."""
    return max(2, tokens // _BLOCK_TOKENS + 1) * _BLOCK_TOKENS


def _packed_splits(lengths: Sequence[int], tokens: int) -> list[int]:
    """Where to split lengths so that each row is filled before the next begins.

    Returns:
        The bounds of the micro-batches, from 0 to len(lengths).
    """
    bounds, filled = [0], 0
    for place, length in enumerate(lengths):
        if filled and _packed_length(filled + length) > tokens:
            bounds.append(place)
            filled = 0
        filled += length
    return [*bounds, len(lengths)] if filled else bounds
