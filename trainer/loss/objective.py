"""What a micro-batch adds to a step's loss."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.loss.cispo import cispo
from trainer.loss.dapo import dapo
from trainer.loss.decoupled import decoupled
from trainer.loss.dr_grpo import dr_grpo
from trainer.loss.grpo import grpo
from trainer.loss.gspo import gspo
from trainer.loss.icepop import icepop
from trainer.loss.kl import k3
from trainer.loss.ratio import Weights
from trainer.loss.surrogate import PolicyLoss, Region
from trainer.loss.tokens import Tokens
from trainer.loss.truncated import sequence_tis, token_tis
from trainer.settings import CorrectionSettings, LossSettings


@dataclass(frozen=True)
class Objective:
    """What T tokens add to a step's loss, sum(total) / sum(units) over its micro-batches.

    Attributes:
        total: scalar with gradient, a sum over completions or tokens, not divided yet.
        units: how many completions or tokens, whichever the loss is a mean over.
        clipped: [T] bool, whether clipping decided the token's loss.
        corrected: [T] bool, whether the correction's weight was cut off or set to 0; None without one.
        kl: [T], k3 estimate of KL(learner || reference), no gradient; None without a reference.
    """

    total: Tensor
    units: float
    clipped: Tensor
    corrected: Tensor | None
    kl: Tensor | None


def objective(
    tokens: Tokens, loss: LossSettings, correction: CorrectionSettings, max_completion_tokens: int
) -> Objective:
    """The loss of some completions of a step: sum over tokens of share (w policy + beta KL).

    Without a correction the old policy is the generator and w = 1. With one the old policy is the learner's
    before the step, and w is the correction's weight, which leaves the KL penalty alone.

    Args:
        tokens: T tokens of S completions.
        loss: which policy loss, its clip and the weight of the KL penalty.
        correction: how samples of the generator are reweighted.
        max_completion_tokens: the sampling limit; dr_grpo divides by it.

    Raises:
        ValueError: beta > 0, and no reference_logprobs.
    """
    with torch.no_grad():
        weights = _weights(tokens, correction)
    old_logprobs = tokens.generator_logprobs if weights is None else tokens.proximal_logprobs
    policy = _policy_loss(tokens, old_logprobs, loss, max_completion_tokens)
    terms = policy.terms if weights is None else weights.values * policy.terms
    kl = None
    if tokens.reference_logprobs is not None:
        kl = k3(tokens.learner_logprobs, tokens.reference_logprobs)
        terms = terms + loss.beta * kl
    elif loss.beta > 0:
        raise ValueError(f"loss.beta is {loss.beta}, but there are no reference_logprobs")
    return Objective(
        total=(terms * policy.share).sum(),
        units=policy.units,
        clipped=policy.clipped,
        corrected=None if weights is None else weights.cut,
        kl=None if kl is None else kl.detach(),
    )


def _policy_loss(
    tokens: Tokens, old_logprobs: Tensor, loss: LossSettings, max_completion_tokens: int
) -> PolicyLoss:
    clip_high = loss.clip if loss.clip_high is None else loss.clip_high
    region = Region(1 - loss.clip, 1 + clip_high)
    match loss.name:
        case "grpo":
            return grpo(tokens, old_logprobs, region)
        case "dr_grpo":
            return dr_grpo(tokens, old_logprobs, region, max_completion_tokens)
        case "dapo":
            return dapo(tokens, old_logprobs, region)
        case "gspo":
            return gspo(tokens, old_logprobs, region)
        case "cispo":
            return cispo(tokens, old_logprobs, region)


def _weights(tokens: Tokens, correction: CorrectionSettings) -> Weights | None:
    match correction.name:
        case "none":
            return None
        case "token_tis":
            return token_tis(tokens, correction.cap)
        case "sequence_tis":
            return sequence_tis(tokens, correction.cap)
        case "icepop":
            return icepop(tokens, correction.low, correction.high)
        case "decoupled":
            return decoupled(tokens)
