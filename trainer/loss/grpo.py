"""GRPO (DeepSeekMath, arXiv:2402.03300, eq. 3)."""

from torch import Tensor

from trainer.loss.surrogate import PolicyLoss, Region, clipped_surrogate
from trainer.loss.tokens import Tokens


def grpo(tokens: Tokens, old_logprobs: Tensor, region: Region) -> PolicyLoss:
    """The clipped surrogate, a mean over the tokens of a completion, then over completions.

        1/S sum_i 1/|o_i| sum_t -min(r_it A_i, clip(r_it) A_i)        r_it = exp(learner_it - old_it)

    The paper averages over the completions of one group and then over groups. All groups have the same
    size, so this is the mean over all completions of a step, as long as none is masked.

    Args:
        tokens: T tokens of S completions.
        old_logprobs: [T], of the policy that the ratio is to.
        region: bounds of the clip.
    """
    log_ratio = tokens.learner_logprobs - old_logprobs
    terms, clipped = clipped_surrogate(log_ratio, tokens.advantages, region)
    return PolicyLoss(terms, clipped, share=tokens.share_of_completion(), units=tokens.completions)
