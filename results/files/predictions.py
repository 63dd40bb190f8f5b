"""What was predicted of a run before its first step: an entry of `sweep.json`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Predicted(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class PredictedMode(_Predicted):
    """One kind of step."""

    seconds: float
    weight: float = Field(ge=0, le=1)
    """Share of the steps."""


class Costs(_Predicted):
    """The costs that a prediction was made from."""

    source: str
    """`fitted on SWEEP/RUN` or `numbers given by hand`."""
    generate_s: float
    """Mean seconds of generation of a group that has the engine for itself."""
    crowding: float
    """By how much every other group slows a group down, as a share of its time alone."""
    verify_s: float
    learn_s_per_prompt: float
    learn_s_per_token: float
    optimizer_s: float
    other_s: float
    sync_s: float
    checkpoint_s: float
    held_out_s: float = 0.0
    """Of one evaluation on held-out problems; in a step's `other_s`."""
    groups: int
    """Groups that generation was measured on; 1 where it was given by hand."""


class Prediction(_Predicted):
    """One run as the simulator sees it: means over replications, each with other draws.

    A step's parts are means over all steps, as those of view `run_summary`: step_s = wait_s + drain_s +
    learn_s + sync_s + checkpoint_s + other_s.
    """

    made_unix: float
    costs: Costs
    replications: int
    stalled_share: float = Field(default=0.0, ge=0, le=1)
    """Of these, the share that the trainer would have given up for want of groups to learn from. All else is
    said of the others."""
    step_s: float
    """Mean time of a step."""
    step_low_s: float
    """Chance alone puts the mean step time of 95 % of runs with these costs between this and the next:
    Student's prediction interval for one more run. Both are the mean where costs leave nothing to chance."""
    step_high_s: float
    step_p5_s: float
    """5th percentile of the times of single steps, without the first sync cycle; likewise the next two."""
    step_p50_s: float
    step_p95_s: float
    modes: tuple[PredictedMode, ...]
    """By location; more than one where most replications show several, by the test that measurements get."""
    position_s: tuple[float, ...] = ()
    """Mean time of the steps at each place in the sync cycle, without the first cycle.

    Several modes come from it; to show them, the test of modes asks for more than different means."""
    wait_s: float
    drain_s: float
    learn_s: float
    sync_s: float
    checkpoint_s: float
    other_s: float
    prompts_per_s: float
    speedup: float | None = None
    """Prompts/s over those of the run's twin by the same costs; None where it has none."""
    wall_s: float
    """From the first dispatch to the end of the last step."""
    age_mean: float
    """Mean `off_policy_steps` of trained groups."""
    ages: dict[int, float]
    """Share of the trained groups by `off_policy_steps`."""
    engine_idle_share: float
    """Of the wall time, that in which the engine works on nothing or is halted by a sync."""
    learner_idle_share: float
    """Of the wall time, that in which the learner waits or drains."""
    wasted_token_share: float | None
    """Of the sampled tokens, those that are not trained on; None where costs say nothing of tokens."""
    dispatched_per_trained: float | None
    """Groups dispatched for each that is trained; None likewise: verdicts are not known then either."""
    latency_s: float
    """Mean time between a group's dispatch and the end of its generation."""
    completion_tokens_per_prompt: float | None
    """Of trained groups; None where costs say nothing of tokens."""

    @model_validator(mode="before")
    @classmethod
    def _unknown_is_null(cls, data: Any) -> Any:  # noqa: ANN401 - whatever a file holds
        """Earlier releases wrote 0 tokens, and one group dispatched for each, where costs know of neither."""
        if isinstance(data, dict) and data.get("completion_tokens_per_prompt") == 0:
            unknown = ("wasted_token_share", "dispatched_per_trained", "completion_tokens_per_prompt")
            return data | dict.fromkeys(unknown)
        return data
