"""What a step says about itself: sums over tokens that stay on the device until an update ends."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor

from trainer.loss.objective import Objective

Metrics = dict[str, float | None]

# Ratios above exp of this are taken for that, so that sums of any number of them, and the records that are
# written, stay finite. So far apart nothing is known of a token but that engine and learner disagree.
_MAX_GAP_NATS = 600.0


class UpdateSums:
    """Sums over the micro-batches of one update.

    Attributes:
        units: what the loss and its gradient are divided by.
        tokens: completion tokens.
    """

    def __init__(self) -> None:
        self.units = 0.0
        self.tokens = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, result: Objective, entropy: Tensor) -> None:
        """Count the T tokens of one micro-batch; entropy is [T]."""
        self.units += result.units
        self.tokens += entropy.numel()
        self._sum("loss", result.total.detach())
        self._sum("entropy", entropy.sum())
        self._sum("clip_fraction", result.clipped.sum())
        if result.corrected is not None:
            self._sum("corrected_fraction", result.corrected.sum())
        if result.kl is not None:
            self._sum("kl", result.kl.sum())

    def read(self, gradient_norm: Tensor) -> Metrics:
        """The loss, means over tokens, and the norm of the gradient, in one transfer from the device.

        Args:
            gradient_norm: scalar, of the gradient that is not divided by `units` yet.
        """
        names = [*self._sums, "grad_norm"]
        stacked = torch.stack([tensor.float() for tensor in (*self._sums.values(), gradient_norm)])
        values = dict(zip(names, stacked.tolist(), strict=True))
        return {
            "kl": None,
            "corrected_fraction": None,
            **{
                name: value / (self.units if name in ("loss", "grad_norm") else self.tokens)
                for name, value in values.items()
            },
        }

    def _sum(self, name: str, value: Tensor) -> None:
        self._sums[name] = self._sums[name] + value if name in self._sums else value


def mean_over_updates(updates: Sequence[Mapping[str, float | None]]) -> Metrics:
    """The mean of every metric; None where it was not measured."""
    columns = {name: [update[name] for update in updates] for name in updates[0]}
    return {
        name: None if any(value is None for value in column) else fmean(v for v in column if v is not None)
        for name, column in columns.items()
    }


def importance_metrics(log_ratios: Tensor) -> Metrics:
    """Of the importance ratios r = learner / generator of all tokens of a step, in one transfer.

    The effective sample size is (sum r)^2 / (n sum r^2); the percentile is the smallest gap |log r| that
    99.9 % of the tokens do not exceed. Gaps are cut off at 600 nats.

    Args:
        log_ratios: [N], learner_logprobs - generator_logprobs before the step's first update.
    """
    log_ratios = log_ratios.double().clamp(-_MAX_GAP_NATS, _MAX_GAP_NATS)
    count = log_ratios.numel()
    ratios, gaps = log_ratios.exp(), log_ratios.abs()
    sums = torch.logsumexp(torch.stack([log_ratios, 2 * log_ratios]), dim=1)
    names = (
        "ratio_mean",
        "ratio_max",
        "ratio_min",
        "ess",
        "logprob_gap_mean",
        "logprob_gap_max",
        "logprob_gap_p999",
    )
    values = torch.stack(
        [
            ratios.mean(),
            ratios.max(),
            ratios.min(),
            (2 * sums[0] - sums[1]).exp() / count,
            gaps.mean(),
            gaps.max(),
            gaps.kthvalue(math.ceil(0.999 * count)).values,
        ]
    )
    return dict(zip(names, values.tolist(), strict=True))
