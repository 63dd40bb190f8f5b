"""Rows about speed. A ratio above 1: this run is the faster."""

from typing import Literal

from results.report.rows.base import Row


class SpeedupRow(Row):
    """One run and what it is compared with; ratios above 1: this run is the faster."""

    label: str
    run_name: str
    against: str
    """`baseline`, its matched twin; `reference`, the one run; `chosen`, by --baseline."""
    other_label: str
    other_run: str
    training_time_ratio: float | None
    step_time_speedup: float | None
    step_time_comparable: bool | None
    """False where the two runs' steps train different numbers of prompts."""
    step_time_cycles_speedup: float | None
    """The same ratio over whole sync cycles after the first, which its interval is of."""
    step_time_low: float | None
    step_time_high: float | None
    prompts_per_s_speedup: float | None
    prompts_per_s_low: float | None
    """Of the 95 % interval of the ratio; null where there were too few sync cycles for one."""
    prompts_per_s_high: float | None
    completion_tokens_per_s_speedup: float | None
    completion_tokens_per_s_low: float | None
    completion_tokens_per_s_high: float | None
    interval_scope: str | None
    """What the intervals are about: `within this run` or seeds."""
    threshold_reward: float | None
    """The other run's mean reward over its last fifth."""
    other_reward_gain: float | None
    """That less its mean over its first fifth; where it did not rise, reaching it says nothing."""
    time_to_reward_s: float | None
    """Training time until the smoothed reward reached the threshold; null: it never did."""
    other_time_to_reward_s: float | None
    time_to_reward_speedup: float | None
    """Their ratio, or where `time_to_reward_bound` is set what it is above or below."""
    time_to_reward_bound: Literal["<", ">"] | None
    """One of the two runs ended before it reached the threshold."""
    cycles: int | None
    """Whole sync cycles after the first, which the ratios are over."""
    other_cycles: int | None


class ArmSpeedupRow(Row):
    """One arm and the arm it is compared with: geometric means over seeds, each against its own twin.

    Ends of intervals are over seeds from three on, null for two, and within the run for one.
    """

    arm_id: str
    label: str
    against: str
    other_arm_id: str
    other_label: str
    seeds: int
    interval_scope: str
    step_time_comparable: bool | None
    step_time_speedup: float | None
    step_time_low: float | None
    step_time_high: float | None
    prompts_per_s_speedup: float | None
    prompts_per_s_low: float | None
    prompts_per_s_high: float | None
    prompts_per_s_least: float | None
    """The range over seeds."""
    prompts_per_s_most: float | None
    completion_tokens_per_s_speedup: float | None
    completion_tokens_per_s_low: float | None
    completion_tokens_per_s_high: float | None
    time_to_reward_speedup: float | None
    time_to_reward_low: float | None
    time_to_reward_high: float | None
    time_to_reward_seeds: int
    """Pairs whose two runs reached the reward."""


class PublishedRatios(Row):
    """Of published figures, > 1 is faster; `_low` and `_high` are what their rounding allows."""

    training_time_ratio: float | None
    training_time_ratio_low: float | None
    training_time_ratio_high: float | None
    step_time_speedup: float | None
    step_time_speedup_low: float | None
    step_time_speedup_high: float | None
    step_time_comparable: bool | None
    prompts_per_s_speedup: float | None
    prompts_per_s_speedup_low: float | None
    prompts_per_s_speedup_high: float | None


class PublishedSpeedRow(PublishedRatios):
    """What was published of a run made elsewhere; `_low` and `_high` are what its rounding allows."""

    label: str
    run_name: str
    max_staleness: int | None
    prompts_per_optim_step: int | None
    prompts_per_rollout_sync: int | None
    lr: float | None
    training_time_s: float | None
    training_time_s_low: float | None
    training_time_s_high: float | None
    steps: int | None
    step_mean_s: float | None
    step_mean_s_low: float | None
    step_mean_s_high: float | None
    step_std_s: float | None
    step_median_s: float | None
    step_min_s: float | None
    step_max_s: float | None
    prompts_per_s: float | None
    prompts_per_s_low: float | None
    prompts_per_s_high: float | None
    other_run: str | None
    """The sweep's reference run."""
    other_label: str | None
    notes: str | None


class PublishedSpeedupRow(PublishedRatios):
    """Published figures of two runs made elsewhere; `_low` and `_high` are what their rounding allows."""

    label: str
    run_name: str
    against: str
    """`baseline` or `reference`."""
    other_run: str
    other_label: str


class PublishedStepTimesRow(Row):
    """What was published of the spread of step times."""

    label: str
    run_name: str
    steps: int | None
    text: str
    counted_steps: int | None
    """Steps that the published ranges hold."""


class ModesRow(Row):
    """Step-time modes of one run, without its first sync cycle."""

    label: str
    run_name: str
    steps: int
    modes: int
    """How many are shown; 1 where no second one is."""
    mode_seconds: list[float]
    mode_weights: list[float]
    mode_std_s: list[float]
    mode_low_s: list[float]
    """The range of each mode, and below how many steps lie in it."""
    mode_high_s: list[float]
    mode_steps: list[int]
    outliers_s: list[float]
    """Steps in no mode's range."""
    unimodality_p: float | None
    position_p: float | None
    """Of the permutation test whether the position in the sync cycle matters."""
    explained_by: str | None
    """What is shown to go with the modes."""
    sentence: str
