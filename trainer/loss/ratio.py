"""Probability ratios, and the weights that corrections make of them."""

from dataclasses import dataclass

from torch import Tensor

MAX_LOG_RATIO = 20.0
"""Log ratios are cut off here, at a ratio of 5e8, wherever nothing else bounds it. Above 88 a float32 ratio
is inf, and the gradient of a clipped term 0 * inf = nan. verl cuts off at the same value, below as well;
there exp underflows to 0, which is harmless."""


def bounded(log_ratio: Tensor) -> Tensor:
    """`log_ratio` cut off at MAX_LOG_RATIO; beyond it there is no gradient. A nan stays one."""
    return log_ratio.clamp(max=MAX_LOG_RATIO)


@dataclass(frozen=True)
class Weights:
    """A correction's weights of T tokens.

    Attributes:
        values: [T], what each token's policy term is multiplied by, no gradient.
        cut: [T] bool, whether the weight was cut off or set to 0.
    """

    values: Tensor
    cut: Tensor
