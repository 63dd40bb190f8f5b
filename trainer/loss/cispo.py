"""CISPO (MiniMax-M1, arXiv:2506.13585, eqs. 4 and 5)."""

import torch
from torch import Tensor

from trainer.loss.surrogate import PolicyLoss, Region
from trainer.loss.tokens import Tokens


def cispo(tokens: Tokens, old_logprobs: Tensor, region: Region) -> PolicyLoss:
    """REINFORCE with a clipped importance weight that has no gradient; a mean over tokens.

        1/T sum_i sum_t -sg(clip(r_it)) A_i learner_it        r_it = exp(learner_it - old_it)

    No token loses its gradient: clipping limits its weight, on either side and for either sign of the
    advantage. The paper sets no lower bound, and takes the mean over the tokens of one group, then over
    groups; this one is over all tokens of the step. TRL gives the upper bound itself, here it is 1 + what
    is configured, as in the paper.

    Args:
        tokens: T tokens of S completions.
        old_logprobs: [T], of the policy that the ratio is to.
        region: bounds of the clip.
    """
    ratio = (tokens.learner_logprobs.detach() - old_logprobs).exp()
    weight = ratio.clamp(region.low, region.high)
    return PolicyLoss(
        terms=-weight * tokens.advantages * tokens.learner_logprobs,
        clipped=(weight != ratio) & (tokens.advantages != 0),
        share=torch.ones_like(tokens.advantages),
        units=ratio.numel(),
    )
