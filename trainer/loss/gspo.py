"""GSPO (Group Sequence Policy Optimization, arXiv:2507.18071, eqs. 5 and 7)."""

from torch import Tensor

from trainer.loss.surrogate import PolicyLoss, Region, clipped_surrogate
from trainer.loss.tokens import Tokens


def gspo(tokens: Tokens, old_logprobs: Tensor, region: Region) -> PolicyLoss:
    """One ratio for a whole completion, the geometric mean of its tokens' ratios; a mean over completions.

        1/S sum_i -min(s_i A_i, clip(s_i) A_i)        s_i = exp(1/|o_i| sum_t (learner_it - old_it))

    The gradient flows through s_i, so each token of a completion that is not clipped gets -s_i A_i / |o_i|.
    The paper's GSPO-token, with a stop-gradient, has the same one where all tokens of a completion have the
    same advantage, as here. The formula is spread over tokens, each with the term of its completion and the
    share 1/|o_i|, so `clipped` marks all tokens of a clipped completion.

    s_i deviates from 1 far less than a token's ratio: the paper clips at 3e-4 below and 4e-4 above.

    Args:
        tokens: T tokens of S completions.
        old_logprobs: [T], of the policy that the ratio is to.
        region: bounds of the clip.
    """
    share = tokens.share_of_completion()
    mean_log_ratio = tokens.completion_sums((tokens.learner_logprobs - old_logprobs) * share)
    terms, clipped = clipped_surrogate(mean_log_ratio, tokens.advantages, region)
    return PolicyLoss(terms, clipped, share, units=tokens.completions)
