"""Rows about staleness and what became of groups."""

from pydantic import AliasChoices, Field

from results.report.rows.base import Row


class StalenessRow(Row):
    """Trained groups of one run by age."""

    label: str
    run_name: str
    max_staleness: int | None
    off_policy_steps: int
    """Optimizer steps the learner was ahead of the policy that began the group."""
    groups: int
    share: float
    """Of the run's trained groups."""
    completion_tokens: int
    token_share: float | None
    in_flight_steps_mean: float | None
    """Part of the age that passed while the group was generated; the rest while it waited."""
    in_queue_steps_mean: float | None


class FateRow(Row):
    """Groups of one run by what became of them."""

    label: str
    run_name: str
    fate: str
    groups: int
    share: float
    """Of the run's groups."""
    completions: int
    completion_tokens: int
    token_share: float | None
    """Of the tokens of all fates but `discarded`."""


class AgesRow(Row):
    """Ages of one run's trained groups against the bound."""

    label: str
    run_name: str
    max_staleness: int | None
    groups: int
    off_policy_steps_mean: float
    off_policy_steps_token_mean: float | None
    """Each token counts alike, not each group."""
    off_policy_steps_median: int
    off_policy_steps_p90: int
    off_policy_steps_max: int
    at_bound_share: float
    over_bound_groups: int
    """Older than the bound, which no correct trace has."""
    in_flight_steps_mean: float | None
    in_queue_steps_mean: float | None


class WasteRow(Row):
    """Completion tokens of one run that were never trained on; shares are of the generated tokens."""

    label: str
    run_name: str
    generated_tokens: int
    """Of all groups with a fate but `discarded`."""
    trained_tokens: int
    wasted_tokens: int
    wasted_share: float | None
    filtered_share: float | None
    evicted_share: float | None
    aborted_share: float | None
    failed_share: float | None
    leftover_share: float | None
    discarded_tokens: int
    """Of attempts that were cut off and done again."""
    discarded_share: float | None
    unresolved_groups: int


class BiasRow(Row):
    """Groups of one fate against trained groups of the same run, by one quantity."""

    label: str
    run_name: str
    fate: str
    quantity: str
    """`completion_tokens`, `reward` or `truncated_share`."""
    groups: int
    compared_groups: int
    uncommon_groups: float | None
    """Expected on the rarer side to differ from their block's median; below five nothing is tested."""
    blocks: float | None
    """Effective number of parts of the run that hold them."""
    mean: float | None
    trained_mean: float | None
    scale: str
    """Whether the estimate is a `ratio` or a `difference`."""
    estimate: float | None
    estimate_low: float | None = Field(validation_alias=AliasChoices("low", "estimate_low"))
    """Of the 95 % interval, not adjusted."""
    estimate_high: float | None = Field(validation_alias=AliasChoices("high", "estimate_high"))
    effect_size: float | None
    p: float | None
    p_adjusted: float | None


class AgeEffectsRow(Row):
    """Importance ratios of one run's steps by their mean age."""

    label: str
    run_name: str
    off_policy_steps: int
    """The steps' mean age, rounded."""
    steps: int
    even_steps: int
    """Those all of whose groups are of that very age."""
    ess: float | None
    """Effective sample size, a share."""
    ratio_mean: float | None
    ratio_max: float | None
    logprob_gap_mean: float | None
    clip_fraction: float | None
    ess_min: float | None
    ratio_max_max: float | None


class AgeTrendsRow(Row):
    """Whether one ratio goes with age within one run."""

    label: str
    run_name: str
    metric: str
    blocks: int
    rank_correlation: float | None
    p: float | None
    p_adjusted: float | None
