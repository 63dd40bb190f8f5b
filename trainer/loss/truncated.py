"""Truncated importance sampling: weights that are cut off at a cap.

F. Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training". There the
engine holds the weights the learner had before the step and the weight makes up for how differently the
two compute. Here the engine may also hold older ones (`max_staleness`), so it makes up for that as well.
"""

from trainer.loss.ratio import Weights
from trainer.loss.tokens import Tokens


def token_tis(tokens: Tokens, cap: float) -> Weights:
    """min(exp(proximal - generator), cap) of each token, [T]."""
    weights = (tokens.proximal_logprobs - tokens.generator_logprobs).exp()
    return Weights(weights.clamp(max=cap), cut=weights > cap)


def sequence_tis(tokens: Tokens, cap: float) -> Weights:
    """min(product of exp(proximal - generator) over a completion, cap) for all its tokens, [T].

    The product is taken as a sum of logarithms and not normalised for length, as in TRL and verl: it is
    the importance weight of the whole completion, so for a long one it is often near 0 or cut off. A product
    too large for a float is inf, and cut off like any other.
    """
    log_products = tokens.completion_sums(tokens.proximal_logprobs - tokens.generator_logprobs)
    weights = log_products.exp()
    return Weights(weights.clamp(max=cap), cut=weights > cap)
