"""Rows about accuracy. Differences are this one minus the other, in percentage points."""

from pydantic import AliasChoices, Field

from results.report.rows.base import Row


class AccuracyRow(Row):
    """One result of the last evaluated checkpoint of a run, or of a base model."""

    label: str
    run_name: str | None
    """Null for a base model."""
    checkpoint: str
    task: str
    num_fewshot: int
    metric: str
    filter: str
    value_percent: float
    stderr_percent: float | None
    questions: int | None
    source: str
    """`lm-eval`, or `published` without lm-eval's file."""


class DeltaRow(Row):
    """One comparison of accuracies, this run minus the other, tested."""

    label: str
    run_name: str
    against: str
    """`base`, `baseline`, `reference` or `chosen`."""
    other_label: str
    other_run: str | None
    """Null for a base model."""
    checkpoint: str
    other_checkpoint: str
    prompts_trained: int | None
    """Up to the checkpoint; null where its name is no step number."""
    other_prompts_trained: int | None
    task: str
    num_fewshot: int
    metric: str
    filter: str
    questions: int | None
    value_percent: float
    other_percent: float
    delta_points: float
    low_points: float | None = Field(validation_alias=AliasChoices("low", "low_points"))
    """Of the 95 % interval, not adjusted."""
    high_points: float | None = Field(validation_alias=AliasChoices("high", "high_points"))
    method: str | None
    """`paired` on the same questions, `unpaired` from standard errors, or `unpaired, published`."""
    p: float | None
    p_adjusted: float | None
    """Holm, over all runs and shots against this kind of opponent."""
    p_equivalent_adjusted: float | None
    """Of the two one-sided tests against the margin."""
    verdict: str
    """`better`, `worse`, `equivalent`, `inconclusive` or `refused`."""
    detectable_points: float | None
    """The least difference that would have shown with 80 % power."""
    refusal: str | None
    """What differs, so that the two are not compared: settings, or how far the two were trained."""
    noise_points: float | None
    """What evaluating the base model twice differs by; null where it was evaluated once."""
    within_noise: bool


class ArmDeltaRow(Row):
    """One comparison of an arm over its seeds; seeds and questions are both a sample."""

    arm: str
    """Its id."""
    label: str
    """Of its first seed."""
    against: str
    other_label: str
    task: str
    num_fewshot: int
    metric: str
    filter: str
    seeds: int
    other_seeds: int
    scope: str
    """What the verdict is about: `these checkpoints`, or `3 seeds`."""
    method: str | None
    delta_points: float | None
    low_points: float | None = Field(validation_alias=AliasChoices("low", "low_points"))
    high_points: float | None = Field(validation_alias=AliasChoices("high", "high_points"))
    p: float | None
    p_adjusted: float | None
    p_equivalent_adjusted: float | None
    verdict: str
    detectable_points: float | None


class NoiseFloorRow(Row):
    """What a repeated evaluation of a base model differs by from the first."""

    base_slug: str
    checkpoint: str
    """Which repeat."""
    task: str
    num_fewshot: int
    metric: str
    filter: str
    questions: int | None
    first_percent: float
    value_percent: float
    delta_points: float
    answers_changed: int | None
    """Null without samples of both."""
    flipped: int | None
    noise_points: float
    sentence: str
