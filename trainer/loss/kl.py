"""The KL penalty's estimator."""

import torch
from torch import Tensor

from trainer.loss.ratio import bounded


def k3(learner_logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """exp(d) - 1 - d with d = reference - learner, [T], with gradient (arXiv:2402.03300, eq. 4).

    Never negative, and an unbiased estimate of KL(learner || reference) for tokens that the learner
    sampled; for tokens of an older policy it is biased, and is not reweighted (TRL's default too).
    """
    difference = bounded(reference_logprobs - learner_logprobs)
    return torch.expm1(difference) - difference
