"""DAPO (arXiv:2503.14476, eq. 8)."""

import torch
from torch import Tensor

from trainer.loss.surrogate import PolicyLoss, Region, clipped_surrogate
from trainer.loss.tokens import Tokens


def dapo(tokens: Tokens, old_logprobs: Tensor, region: Region) -> PolicyLoss:
    """The clipped surrogate, a mean over tokens: a long completion counts more than a short one.

        1/T sum_i sum_t -min(r_it A_i, clip(r_it) A_i)        r_it = exp(learner_it - old_it)

    The paper takes the mean over the tokens of one group, then over groups; this one is over all tokens of
    the step, as in verl and TRL. Its upper clip is wider (`loss.clip_high`, 0.28 in the paper), it has no
    KL penalty (`loss.beta: 0`) and masks truncated completions (`sampling.truncated: mask`). Those are the
    user's to set; that groups of equal rewards are left out holds for every loss.

    Args:
        tokens: T tokens of S completions.
        old_logprobs: [T], of the policy that the ratio is to.
        region: bounds of the clip.
    """
    log_ratio = tokens.learner_logprobs - old_logprobs
    terms, clipped = clipped_surrogate(log_ratio, tokens.advantages, region)
    return PolicyLoss(terms, clipped, share=torch.ones_like(tokens.advantages), units=log_ratio.numel())
