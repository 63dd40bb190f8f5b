"""The law of the schedule: when a group may be dispatched and when the engine gets new weights.

Let `i` be the groups accepted so far plus those dispatched and undecided, `v` the engine's policy
version, `s` = max_staleness, `B` = prompts_per_optim_step, `N` = max_steps.

`admission`: groups are consumed in dispatch order, B a step, so a group dispatched now is trained in
step floor(i / B) at the latest, and its age there is floor(i / B) - v. Dispatching only while

    floor(i / B) - v <= s    and    floor(i / B) < N

therefore bounds every age by s, and nothing is generated that must be thrown away for age. A group
that is filtered, failed or aborted leaves `i`; later groups move forward, so ages only shrink.

`evict_requeue`: up to `max_inflight_groups` are dispatched and not yet trained, whatever their age will
be. Groups are consumed as they are accepted; one that is older than s by then is evicted. It leaves
`i`, and its prompt is the next to be dispatched.

Both need k - 1 <= s, where k = P / B is the sync interval: the k-th step after a sync trains groups of
age k - 1 at least.

Pure: no clock, no threads. The trainer, the validator and the planner call the same functions.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The numbers that decide the order of dispatches, steps and syncs.

    Attributes:
        max_staleness: s, the most optimizer steps a trained group may be behind the learner.
        prompts_per_optim_step: B, groups consumed by one optimizer step.
        prompts_per_rollout_sync: P, groups consumed between two weight syncs; a multiple of B.
        max_steps: N, optimizer steps in the run.
        max_inflight_groups: evict_requeue's bound on groups dispatched and not yet trained, at least B;
            None for admission.
    """

    max_staleness: int
    prompts_per_optim_step: int
    prompts_per_rollout_sync: int
    max_steps: int
    max_inflight_groups: int | None = None

    @property
    def sync_interval_steps(self) -> int:
        """k = P / B: the engine is brought to the learner's version after every k-th step."""
        return self.prompts_per_rollout_sync // self.prompts_per_optim_step

    @property
    def in_dispatch_order(self) -> bool:
        """Whether groups are consumed as they were dispatched (admission) or as they are accepted."""
        return self.max_inflight_groups is None

    def may_dispatch(self, consumed: int, waiting: int, engine_version: int) -> bool:
        """Whether the next group may be dispatched now.

        Args:
            consumed: groups the learner has taken so far.
            waiting: groups dispatched and not taken, accepted or undecided.
            engine_version: what the engine would sample with.
        """
        step = (consumed + waiting) // self.prompts_per_optim_step
        if step >= self.max_steps:
            return False
        if self.max_inflight_groups is not None:
            return waiting < self.max_inflight_groups
        return step - engine_version <= self.max_staleness

    def too_old(self, version_min: int, step: int) -> bool:
        """Whether a group dispatched at `version_min` may not be trained in `step` any more."""
        return step - version_min > self.max_staleness

    def sync_due(self, policy_version: int) -> bool:
        """Whether the engine must be given `policy_version` before the learner goes on.

        The last version is synced too when it falls on the interval: evaluation finds it loaded.
        """
        return policy_version > 0 and policy_version % self.sync_interval_steps == 0

    def reference_sync_due(self, policy_version: int, prompts_per_reference_sync: int | None) -> bool:
        """Whether the reference of the KL penalty becomes the policy at this version."""
        trained = policy_version * self.prompts_per_optim_step
        return prompts_per_reference_sync is not None and trained % prompts_per_reference_sync == 0

    def worst_case_age(self) -> int:
        """The oldest a trained group can be: s, or less when the run is shorter than that."""
        return min(self.max_staleness, self.max_steps - 1)


def infeasibility(
    max_staleness: int, prompts_per_optim_step: int, prompts_per_rollout_sync: int
) -> str | None:
    """Why these settings can never make progress, or None when they can.

    With k steps between syncs, the k-th of them trains groups dispatched k - 1 versions earlier;
    where that is more than `max_staleness`, no group may ever be dispatched for it.
    """
    interval = prompts_per_rollout_sync // prompts_per_optim_step
    if interval - 1 > max_staleness:
        return (
            f"k - 1 > max_staleness: k = prompts_per_rollout_sync / prompts_per_optim_step = "
            f"{prompts_per_rollout_sync} / {prompts_per_optim_step} = {interval}, "
            f"and {interval} - 1 = {interval - 1} > {max_staleness}"
        )
    return None
