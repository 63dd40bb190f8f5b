"""Advantages of the completions of one group."""

from collections.abc import Sequence
from statistics import mean, pstdev

_EPSILON = 1e-4


def group_advantages(rewards: Sequence[float], loss: str) -> list[float]:
    """What each completion's reward is above the mean of its group, in standard deviations.

        (r - mean) / (std + 1e-4)        GRPO, arXiv:2402.03300, section 4.1.2; all losses but Dr. GRPO
        r - mean                         Dr. GRPO, arXiv:2503.20783: division favours too easy and too
                                         hard prompts, whose rewards vary little

    The deviation is the population's, which the paper leaves open; TRL and verl take the sample's, larger
    by sqrt(n / (n - 1)). Equal rewards give exactly 0.

    Args:
        rewards: of all completions of the group.
        loss: `loss.name` of the configuration.
    """
    # statistics.mean is exact: the mean of equal rewards is that reward.
    centre = mean(rewards)
    if loss == "dr_grpo":
        return [reward - centre for reward in rewards]
    scale = pstdev(rewards) + _EPSILON
    return [(reward - centre) / scale for reward in rewards]
