"""IcePop (Ling team, Ring-1T, arXiv:2510.18855)."""

from trainer.loss.ratio import Weights
from trainer.loss.tokens import Tokens


def icepop(tokens: Tokens, low: float, high: float) -> Weights:
    """w = exp(proximal - generator) where low <= w <= high, else 0, [T].

    A token that learner and engine disagree on this much is left out, though it still counts in the mean,
    as in the paper. The engine may hold older weights than the learner did before the step, so what is left
    out here has also aged, not only been computed differently. prime-rl makes the test on learner /
    generator instead, so there the mask moves with the updates.
    """
    weights = (tokens.proximal_logprobs - tokens.generator_logprobs).exp()
    # Not "keep what is inside": a nan is neither inside nor outside, and must not vanish.
    outside = (weights < low) | (weights > high)
    return Weights(weights.masked_fill(outside, 0), cut=outside)
