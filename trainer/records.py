"""What a run writes: trace lines and its status. Readers may rely on every field here.

Every time `*_s` inside a record is in seconds of run time: monotonic, continuing across attempts
with downtime left out. `step` n consumes the batch that produces policy version n + 1.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Fate(StrEnum):
    """What became of a group. Every dispatch has exactly one."""

    TRAINED = "trained"
    FILTERED = "filtered"
    """All rewards equal: no advantage, nothing to learn."""
    EVICTED = "evicted"
    """Too old when its turn came (evict_requeue); its prompt was sent again as another group."""
    ABORTED = "aborted"
    """Cut off by a sync (its prompt was sent again as another group) or by the end of the run."""
    FAILED = "failed"
    """The engine or the verifier gave no usable answer."""
    DISCARDED = "discarded"
    """Belonged to an attempt that was cut off after the state that a later one resumed from."""
    LEFTOVER = "leftover"
    """Finished, but the run ended first."""


class RunState(StrEnum):
    """The life of a run."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Record(_Model):
    """One trace line."""

    v: Literal[1] = 1
    attempt: int
    t: float
    """Seconds of run time at which the line was written."""


class RunStarted(Record):
    """First line of every attempt."""

    kind: Literal["run_started"] = "run_started"
    run_id: str
    sweep: str
    run_name: str
    model: str
    engine: str
    """Name and version: `vllm 0.32.0+cpu`."""
    max_steps: int
    unix_time: float


class Resumed(Record):
    """Records of steps >= from_step by earlier attempts are superseded.

    What becomes of their groups follows in `group` lines: the last line of a group counts.
    """

    kind: Literal["resumed"] = "resumed"
    from_step: int


class Dispatch(Record):
    """A group was sent to the engine."""

    kind: Literal["dispatch"] = "dispatch"
    group: int
    prompt_id: str
    epoch: int
    version: int
    """The engine's policy version at dispatch."""


class Group(Record):
    """The fate of a group: one line per dispatch, and one more where an attempt was cut off after it."""

    kind: Literal["group"] = "group"
    group: int
    prompt_id: str
    version_min: int
    """Policy version at dispatch."""
    version_max: int | None
    """Policy version that sampled the last token; None when it never finished."""
    finished_version: int | None = None
    """The learner's policy version when the group was finished."""
    dispatched_s: float
    finished_s: float | None
    verified_s: float | None
    consumed_s: float | None
    """When the learner took it; only for trained groups."""
    step: int | None
    """The step that trained on it; only for trained groups."""
    fate: Fate
    reward_mean: float | None
    prompt_tokens: int
    """Length of the prompt, counted once however many completions were drawn."""
    completion_tokens: int
    """Sum over the group's completions, of an aborted group as far as they came."""
    truncated: int
    """Completions cut off by max_completion_tokens."""


class Step(Record):
    """One optimizer step: the learner's lane from the end of the step before to the end of this one.

    wall_s = wait_s + drain_s + learn_s + sync_s + checkpoint_s + other_s.
    """

    kind: Literal["step"] = "step"
    step: int
    policy_version: int
    """step + 1: the version this step produced."""
    start_s: float
    wall_s: float
    wait_s: float
    """Waiting for the groups of this step."""
    drain_s: float
    """Waiting, before a sync, for groups in flight to finish."""
    learn_s: float
    """Forward, backward and optimizer."""
    sync_s: float
    """Exporting the weights, loading them into the engine and checking them."""
    checkpoint_s: float
    other_s: float
    prompts: int
    completions: int
    prompt_tokens: int
    completion_tokens: int
    reward_mean: float
    """Over the completions of the groups trained here and of those filtered since the step before."""
    reward_std: float
    loss: float
    grad_norm: float
    lr: float
    kl: float | None
    """Mean k3 estimate of KL(policy || reference) a token; None without a reference."""
    entropy: float
    """Mean entropy of the learner's distribution a token, in nats."""
    clip_fraction: float
    """Share of tokens whose ratio was clipped."""
    ratio_mean: float
    """Mean importance ratio learner / generator a token, before the step's first update."""
    ratio_max: float
    ratio_min: float | None = None
    ess: float
    """Effective sample size over tokens, (sum r)^2 / (n sum r^2), in (0, 1]."""
    logprob_gap_mean: float
    """Mean |learner_logprobs - generator_logprobs| a token."""
    logprob_gap_max: float
    logprob_gap_p999: float | None = None
    """99.9th percentile of the same."""
    corrected_fraction: float | None = None
    """Share of tokens whose correction weight was cut off or set to 0; None without a correction."""
    off_policy_steps_mean: float
    """Mean age, learner version - version_min, over the groups of this step."""
    off_policy_steps_max: int
    in_flight_steps_mean: float | None = None
    """The part of the mean age that came while groups were generated."""
    in_queue_steps_mean: float | None = None
    """The part that came while finished groups waited for their turn."""
    queue_s_mean: float | None = None
    """Mean time from a group's verdict to its training."""
    engine_idle_s: float | None = None
    """Time within wall_s in which the engine worked on nothing."""
    truncated_fraction: float
    """Share of completions cut off by max_completion_tokens."""
    filtered_groups: int
    """Groups filtered since the step before."""
    evicted_groups: int | None = None
    """Groups evicted since the step before; likewise the next two."""
    aborted_groups: int | None = None
    failed_groups: int | None = None


class Span(Record):
    """Something that took time, for the timeline."""

    kind: Literal["span"] = "span"
    lane: Literal["engine", "learner", "sync", "verify"]
    name: str
    """engine: generate, held_out, idle:admission, idle:drain, idle:sync, idle:end; learner: wait, drain,
    learn, checkpoint, held_out; sync: sync; verify: verify."""
    start_s: float
    end_s: float
    step: int | None


class Sync(Record):
    """The engine was given the learner's weights, and they were proved to have arrived."""

    kind: Literal["sync"] = "sync"
    version: int
    bytes: int
    wall_s: float
    in_flight: int
    """Groups running when the sync became due."""


class Checkpoint(Record):
    """A checkpoint was completed."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    """Policy version saved."""
    path: str
    bytes: int
    wall_s: float


class HeldOut(Record):
    """An evaluation on held-out problems, greedy, one completion each."""

    kind: Literal["eval"] = "eval"
    version: int
    problems: int
    accuracy: float
    """Mean reward."""
    truncated_fraction: float
    completion_tokens: int
    wall_s: float


class Warned(Record):
    """Something a user should know that stops nothing."""

    kind: Literal["warning"] = "warning"
    message: str


class RunFinished(Record):
    """Last line of an attempt that ended by itself."""

    kind: Literal["run_finished"] = "run_finished"
    state: RunState
    reason: str | None
    policy_version: int
    wall_s: float
    """Run time of all attempts."""
    engine_requests: int | None
    """By the engine's own counters, for this attempt: completions with a token; None where it was gone."""
    engine_prompt_tokens: int | None
    """Counted once for every completion."""
    engine_completion_tokens: int | None


TraceRecord = Annotated[
    RunStarted
    | Resumed
    | Dispatch
    | Group
    | Step
    | Span
    | Sync
    | Checkpoint
    | HeldOut
    | Warned
    | RunFinished,
    Field(discriminator="kind"),
]


class RunStatus(_Model):
    """`status.json`: who runs a run, how far it is, how it ended."""

    state: RunState
    attempt: int
    pid: int | None = None
    pid_started: float | None = None
    """Creation time of the process in unix seconds: a pid alone may have been given away again."""
    heartbeat: float
    """Unix time of the last sign of life; refreshed at least every 5 s while running."""
    step: int = 0
    """Policy version reached."""
    max_steps: int
    reason: str | None = None
    """Why it failed, was interrupted or was skipped."""


class RolloutCompletion(_Model):
    """One sampled answer."""

    text: str
    token_ids: list[int]
    tokens: list[str] | None = None
    """Text of each token by itself; None in files of older releases."""
    generator_logprobs: list[float]
    learner_logprobs: list[float] | None = None
    """By the learner before the step's first update; None where the completion was not trained on."""
    advantage: float | None = None
    """That it was trained with, or None."""
    reward: float
    truncated: bool


class RolloutGroup(_Model):
    """One line of rollouts.jsonl: a group that was verified.

    As in the trace, the last line of a group counts; whether a later attempt superseded it, the trace says.
    """

    attempt: int = 1
    group: int
    prompt_id: str
    fate: Fate
    step: int | None
    version_min: int
    prompt: str
    answer: str
    completions: list[RolloutCompletion]
