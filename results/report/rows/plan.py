"""Rows about what was predicted."""

from results.report.rows.base import Row


class PlanRow(Row):
    """One run as it was predicted before its first step, beside what was measured.

    What is measured of a run that is not done is of the steps so far; the prediction is of all. A step's
    parts are means over all steps and add up to its time.
    """

    label: str
    run_name: str
    state: str
    costs_source: str
    """Where the costs come from that the prediction was made with."""
    replications: int
    """Simulated runs that the prediction is the mean of, each with other draws."""
    made_unix: float
    steps_done: int
    max_steps: int | None
    predicted_step_s: float
    """Mean time of a step."""
    measured_step_s: float | None
    step_low_s: float
    """Chance alone puts the mean step time of 95 % of runs with these costs between this and the next."""
    step_high_s: float
    step_error: float | None
    """Predicted over measured, less 1."""
    predicted_wait_s: float
    measured_wait_s: float | None
    predicted_drain_s: float
    measured_drain_s: float | None
    predicted_learn_s: float
    measured_learn_s: float | None
    predicted_sync_s: float
    measured_sync_s: float | None
    predicted_checkpoint_s: float
    measured_checkpoint_s: float | None
    predicted_other_s: float
    measured_other_s: float | None
    predicted_prompts_per_s: float
    measured_prompts_per_s: float | None
    predicted_speedup: float | None
    """Prompts a second against the matched baseline, over all steps."""
    measured_speedup: float | None
    """The same, over whole sync cycles after the first."""
    speedup_low: float | None
    """Of the 95 % interval of the measured ratio."""
    speedup_high: float | None
    predicted_wall_s: float
    """The sum of step times."""
    measured_wall_s: float | None
    """Null before the run has succeeded."""
    predicted_age_mean: float
    """Of trained groups, optimizer steps."""
    measured_age_mean: float | None
    predicted_engine_idle_share: float
    """Of the training time, that in which the engine works on nothing or is halted by a sync."""
    measured_engine_idle_share: float | None
    predicted_learner_idle_share: float
    """Of the training time, that in which the learner waits or drains."""
    measured_learner_idle_share: float | None
    predicted_wasted_token_share: float | None
    """Of the sampled tokens, those that are not trained on; null from costs that know no tokens."""
    measured_wasted_token_share: float | None
    predicted_dispatched_per_trained: float | None
    """Groups dispatched for each that is trained; null from costs that know no tokens."""
    measured_dispatched_per_trained: float | None
    predicted_latency_s: float
    """Mean time from a group's dispatch to the end of its generation."""
    measured_latency_s: float | None
    predicted_completion_tokens_per_prompt: float | None
    """Of trained groups; null from costs that know no tokens."""
    measured_completion_tokens_per_prompt: float | None
    predicted_modes: list[float]
    """Step-time modes by location, in seconds; empty where there were too few steps, as in the next."""
    measured_modes: list[float]
    predicted_position_s: list[float]
    """Mean time of the steps at each place in the sync cycle, without the first cycle."""
    measured_position_s: list[float]
    modes_agree: bool | None
    """Whether they are as many; null before the run has succeeded."""
    failed_assumption: str | None
    """What was assumed otherwise, where the error is large; a part of a step where no cause is measured."""
    sentence: str


class PlanArmRow(Row):
    """Mean step times of finished runs that differ only by seed, predicted and measured."""

    arm_id: str
    label: str
    seeds: int
    """Finished runs that were predicted."""
    interval_scope: str
    """What the interval speaks of: so many seeds; of one or two there is none."""
    predicted_step_s: float
    measured_step_s: float
    """Mean over the seeds."""
    measured_step_low: float | None
    """Of its 95 % t-interval, from three seeds on."""
    measured_step_high: float | None
    measured_step_least: float
    """Of its range."""
    measured_step_most: float
    step_error: float
    """Predicted over measured, less 1."""
