"""What a policy loss is made of, and the clipped surrogate that most of them share."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.loss.ratio import bounded


@dataclass(frozen=True)
class PolicyLoss:
    """A policy loss, neither corrected nor added up: sum(terms * share) / units over a step.

    Attributes:
        terms: [T], with gradient.
        clipped: [T] bool, whether clipping decided the term.
        share: [T], with how much each token counts.
        units: completions or tokens, whichever the loss is a mean over.
    """

    terms: Tensor
    clipped: Tensor
    share: Tensor
    units: float


class Region(NamedTuple):
    """The ratios that are not clipped."""

    low: float
    high: float


def clipped_surrogate(log_ratio: Tensor, advantages: Tensor, region: Region) -> tuple[Tensor, Tensor]:
    """-min(r A, clip(r, low, high) A) with r = exp(log_ratio), PPO's surrogate (arXiv:1707.06347, eq. 7).

    Args:
        log_ratio: [T], with gradient.
        advantages: [T].
        region: bounds of the clip.

    Returns:
        The terms, [T], and where clipping decided them, [T] bool: where the ratio has left the region on
        the side to which the advantage pushes it. There the gradient is 0.
    """
    ratio = bounded(log_ratio).exp()
    unclipped = ratio * advantages
    clipped = ratio.clamp(region.low, region.high) * advantages
    return -torch.minimum(unclipped, clipped), clipped.detach() < unclipped.detach()
