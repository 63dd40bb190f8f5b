"""Sums over the tokens of a step, and the metrics made of them."""

import math

import torch

from trainer.loss.grpo import PolicyLoss


class TokenMetrics:
    """Accumulates over micro-batches; `result` gives the fields of a `Step` record."""

    def __init__(self) -> None:
        self._tokens = 0
        self._sums: dict[str, float] = dict.fromkeys(
            ("ratio", "ratio_squared", "clipped", "gap", "entropy", "kl"), 0.0
        )
        self._has_kl = False
        self._ratio_max = 0.0
        self._gap_max = 0.0
        self._loss = 0.0

    def add(
        self,
        loss: PolicyLoss,
        learner_logprobs: torch.Tensor,
        generator_logprobs: torch.Tensor,
        entropy: torch.Tensor,
    ) -> None:
        """Count the T tokens of one micro-batch; all tensors are [T]."""
        gap = (learner_logprobs.detach() - generator_logprobs).abs()
        self._tokens += gap.numel()
        self._loss += loss.loss.item()
        self._sums["ratio"] += loss.ratio.sum().item()
        self._sums["ratio_squared"] += loss.ratio.square().sum().item()
        self._sums["clipped"] += loss.clipped.sum().item()
        self._sums["gap"] += gap.sum().item()
        self._sums["entropy"] += entropy.sum().item()
        if loss.kl is not None:
            self._has_kl = True
            self._sums["kl"] += loss.kl.sum().item()
        self._ratio_max = max(self._ratio_max, loss.ratio.max().item())
        self._gap_max = max(self._gap_max, gap.max().item())

    def finite(self) -> bool:
        """Whether the loss is a number."""
        return math.isfinite(self._loss)

    def result(self) -> dict[str, float | None]:
        """Means over tokens, extremes, and the effective sample size (sum r)^2 / (n sum r^2)."""
        mean = {name: total / self._tokens for name, total in self._sums.items()}
        return {
            "loss": self._loss,
            "kl": mean["kl"] if self._has_kl else None,
            "entropy": mean["entropy"],
            "clip_fraction": mean["clipped"],
            "ratio_mean": mean["ratio"],
            "ratio_max": self._ratio_max,
            "ess": mean["ratio"] ** 2 / mean["ratio_squared"],
            "logprob_gap_mean": mean["gap"],
            "logprob_gap_max": self._gap_max,
        }
