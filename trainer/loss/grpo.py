"""GRPO: the clipped importance-weighted policy loss (DeepSeekMath, arXiv:2402.03300, eq. 3)."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class PolicyLoss:
    """The loss of T tokens and what it was made of.

    Attributes:
        loss: scalar with gradient, the weighted sum over tokens.
        ratio: [T], exp(learner_logprobs - generator_logprobs), no gradient.
        clipped: [T], whether clipping decided the token's loss.
        kl: [T], k3 estimate of KL(policy || reference), no gradient; None without a reference.
    """

    loss: torch.Tensor
    ratio: torch.Tensor
    clipped: torch.Tensor
    kl: torch.Tensor | None


def grpo_loss(
    learner_logprobs: torch.Tensor,
    generator_logprobs: torch.Tensor,
    advantages: torch.Tensor,
    weights: torch.Tensor,
    *,
    clip: float,
    beta: float = 0.0,
    reference_logprobs: torch.Tensor | None = None,
) -> PolicyLoss:
    """-min(r A, clip(r, 1 - clip, 1 + clip) A) + beta KL, weighted and summed over T tokens.

    The generator's own logprobs are the old policy's, so the ratio also corrects what the engine
    computes differently.

    Args:
        learner_logprobs: [T], with gradient.
        generator_logprobs: [T].
        advantages: [T].
        weights: [T], adding up to 1 over the tokens of a step.
        clip: half-width of the trust region around a ratio of 1.
        beta: weight of the KL penalty, estimated by k3 (http://joschu.net/blog/kl-approx.html).
        reference_logprobs: [T]; needed when beta > 0.
    """
    ratio = (learner_logprobs - generator_logprobs).exp()
    unclipped = ratio * advantages
    bounded = ratio.clamp(1 - clip, 1 + clip) * advantages
    per_token = -torch.minimum(unclipped, bounded)
    kl = None
    if reference_logprobs is not None:
        log_ratio = reference_logprobs - learner_logprobs
        kl = log_ratio.exp() - log_ratio - 1
        per_token = per_token + beta * kl
    return PolicyLoss(
        loss=(per_token * weights).sum(),
        ratio=ratio.detach(),
        clipped=(bounded < unclipped).detach(),
        kl=None if kl is None else kl.detach(),
    )
