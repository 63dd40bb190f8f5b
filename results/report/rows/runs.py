"""Rows about what was run."""

from results.report.rows.base import Row


class ExperimentRow(Row):
    """One run of the plan, whatever became of it; figures are over all its steps."""

    label: str
    """Short name: `Exp1`."""
    run_name: str
    run_id: str | None
    arm_id: str | None
    """Shared by runs that differ only by seed."""
    state: str
    """`succeeded`, `running`, `failed`, `interrupted`, `pending`, `skipped` or `infeasible`."""
    reason: str | None
    """Why it is infeasible or ended badly."""
    profile: str | None
    model: str | None
    task: str | None
    seed: int | None
    engine: str | None
    attempts: int | None
    max_steps: int | None
    steps_done: int
    max_staleness: int | None
    prompts_per_optim_step: int | None
    prompts_per_rollout_sync: int | None
    sync_interval_steps: int | None
    """k = prompts_per_rollout_sync / prompts_per_optim_step."""
    completions_per_prompt: int | None
    lr: float | None
    training_s: float | None
    """The sum of step times; start-up and downtime are not in it."""
    step_mean_s: float | None
    step_median_s: float | None
    step_std_s: float | None
    step_min_s: float | None
    step_max_s: float | None
    prompts: int | None
    """Trained on."""
    completions: int | None
    prompt_tokens: int | None
    completion_tokens: int | None
    prompts_per_s: float | None
    completion_tokens_per_s: float | None
    wait_s: float | None
    """For groups; this and the next five add up to `training_s`."""
    drain_s: float | None
    learn_s: float | None
    sync_s: float | None
    checkpoint_s: float | None
    other_s: float | None
    engine_busy_s: float | None
    """While at least one request ran."""
    overlap_efficiency: float | None
    """Prompts/s over what they would be if the busier of engine and learner never waited."""
    off_policy_steps_mean: float | None
    off_policy_steps_max: int | None
    truncated_fraction: float | None
    reward_first_fifth: float | None
    reward_last_fifth: float | None
    groups_dispatched: int | None
    groups_trained: int | None
    groups_filtered: int | None
    groups_lost: int | None
    trained_token_share: float | None


class ArmRow(Row):
    """Finished runs that differ only by seed: means over seeds, 95 % t-intervals from three on."""

    arm_id: str
    label: str
    model: str | None
    task: str | None
    max_staleness: int | None
    prompts_per_optim_step: int | None
    prompts_per_rollout_sync: int | None
    completions_per_prompt: int | None
    lr: float | None
    planned_seeds: int
    seeds: int
    """That finished."""
    interval_scope: str
    """What the intervals speak of: so many seeds, or one seed, of which there are none."""
    step_mean_s: float | None
    step_mean_s_low: float | None
    step_mean_s_high: float | None
    prompts_per_s: float | None
    prompts_per_s_low: float | None
    prompts_per_s_high: float | None
    completion_tokens_per_s: float | None
    completion_tokens_per_s_low: float | None
    completion_tokens_per_s_high: float | None
    reward_last_fifth: float | None
    reward_last_fifth_low: float | None
    reward_last_fifth_high: float | None


class WarningRow(Row):
    """What one run warned of, and how often."""

    label: str
    message: str
    times: int


class QuarantineRow(Row):
    """A file with lines that cannot be read."""

    path: str
    """Relative to the runs directory."""
    lines: int
