"""Dr. GRPO (Understanding R1-Zero-Like Training, arXiv:2503.20783, section 3)."""

import torch
from torch import Tensor

from trainer.loss.surrogate import PolicyLoss, Region, clipped_surrogate
from trainer.loss.tokens import Tokens


def dr_grpo(tokens: Tokens, old_logprobs: Tensor, region: Region, max_completion_tokens: int) -> PolicyLoss:
    """GRPO without its length bias: every token counts the same, however long its completion.

        1/S sum_i 1/M sum_t -min(r_it A_i, clip(r_it) A_i)        r_it = exp(learner_it - old_it)

    M = `max_completion_tokens` is the constant of the authors' code; the paper's formula has none. It
    scales the whole loss, the KL penalty included. The other half of the method, advantages that are not
    divided by the deviation, is in `group_advantages`.

    Args:
        tokens: T tokens of S completions.
        old_logprobs: [T], of the policy that the ratio is to.
        region: bounds of the clip.
        max_completion_tokens: the sampling limit.
    """
    log_ratio = tokens.learner_logprobs - old_logprobs
    terms, clipped = clipped_surrogate(log_ratio, tokens.advantages, region)
    share = torch.full_like(tokens.advantages, 1 / max_completion_tokens)
    return PolicyLoss(terms, clipped, share, units=tokens.completions)
