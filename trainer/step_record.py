"""What a step record says of its groups and their rewards."""

from collections.abc import Sequence
from statistics import fmean, pstdev

from trainer.buffer import Dropped
from trainer.group import Group
from trainer.records import Fate


def group_fields(groups: Sequence[Group], step: int, consumed_s: Sequence[float]) -> dict[str, float]:
    """Counts and ages of the groups of a step; `consumed_s` is when each was taken.

    A group's age, step - version_min, is made of the steps the learner did while it was generated and
    those it did while the finished group waited for its turn.
    """
    completions = sum(len(group.completions) for group in groups)
    ages = [step - group.version_min for group in groups]
    finished = [_known(group.finished_version) for group in groups]
    verified = [_known(group.verified_s) for group in groups]
    return {
        "prompts": len(groups),
        "completions": completions,
        "prompt_tokens": sum(len(group.prompt_token_ids) for group in groups),
        "completion_tokens": sum(group.completion_tokens for group in groups),
        "off_policy_steps_mean": fmean(ages),
        "off_policy_steps_max": max(ages),
        "in_flight_steps_mean": fmean(
            version - group.version_min for version, group in zip(finished, groups, strict=True)
        ),
        "in_queue_steps_mean": fmean(step - version for version in finished),
        "queue_s_mean": fmean(taken - ready for taken, ready in zip(consumed_s, verified, strict=True)),
        "truncated_fraction": sum(group.truncated for group in groups) / completions,
    }


def reward_fields(groups: Sequence[Group], dropped: Dropped) -> dict[str, float]:
    """Rewards, over filtered groups too: leaving them out would hide what the policy has learned."""
    rewards = [reward for group in groups for reward in group.rewards] + dropped.rewards
    return {
        "reward_mean": fmean(rewards),
        "reward_std": pstdev(rewards),
        "filtered_groups": dropped.fates[Fate.FILTERED],
        "evicted_groups": dropped.fates[Fate.EVICTED],
        "aborted_groups": dropped.fates[Fate.ABORTED],
        "failed_groups": dropped.fates[Fate.FAILED],
    }


def _known(value: float | None) -> float:
    assert value is not None  # a group that is trained was finished and verified
    return value
