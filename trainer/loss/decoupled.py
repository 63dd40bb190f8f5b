"""Decoupled PPO (arXiv:2110.00641; for language models AReaL, arXiv:2505.24298)."""

from trainer.loss.ratio import MAX_LOG_RATIO, Weights, bounded
from trainer.loss.tokens import Tokens


def decoupled(tokens: Tokens) -> Weights:
    """exp(proximal - generator) of each token, [T].

    It makes the loss's ratio, learner / proximal, a trust region around the policy before the step, while
    the samples are weighted as those of the generator's. Uncapped, as in the papers, but for
    MAX_LOG_RATIO; AReaL's code can leave out tokens above a cap (there `behav_imp_weight_cap`), for which
    there is `icepop`.
    """
    log_weights = tokens.proximal_logprobs - tokens.generator_logprobs
    return Weights(bounded(log_weights).exp(), cut=log_weights > MAX_LOG_RATIO)
