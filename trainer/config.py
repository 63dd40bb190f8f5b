"""A run's whole configuration: parsed, validated and hashed without torch."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from trainer.schedule import Schedule, infeasibility
from trainer.settings import (
    CheckpointSettings,
    CorrectionSettings,
    EngineSettings,
    HeldOutSettings,
    LearnerSettings,
    LoraSettings,
    LossSettings,
    NonNegativeInt,
    OptimSettings,
    PositiveInt,
    RolloutSettings,
    SamplingSettings,
    Settings,
    TaskSettings,
    WeightTransfer,
)

# These decide how much is kept, watched or held in memory, and nothing of what is trained but rounding.
_NO_IDENTITY: Mapping[str, Any] = {
    "rollouts": True,
    "checkpoint": True,
    "held_out": True,
    "max_useless_batches": True,
    "engine": {"memory_utilization", "timeout_s"},
    "learner": {"tokens_per_micro_batch", "gradient_checkpointing"},
    "task": {"held_out_path", "held_out_split", "reward_timeout_s"},
}
_IDENTITY = 1


class RunConfig(Settings):
    """Everything that decides what a run computes. Its hash is the run's identity.

    Raises:
        pydantic.ValidationError: on an unknown key, a wrong type, P that is no multiple of B, settings
            that can never make progress, or settings that contradict each other.
    """

    model: str = "builtin:tiny"
    """`builtin:tiny`, a local folder in Hugging Face format, or a name on the hub."""
    task: TaskSettings = TaskSettings()
    seed: NonNegativeInt = 0
    """Decides the order of prompts and every completion's sampling."""
    max_steps: PositiveInt = 100
    """Steps of the run, each of which trains one batch."""
    max_staleness: NonNegativeInt = 0
    """s: how many steps a trained group may be behind the learner. 0 with `admission` is synchronous GRPO."""
    staleness_policy: Literal["admission", "evict_requeue"] = "admission"
    """`admission`: a group is dispatched only when it cannot become too old. `evict_requeue`: groups are
    generated ahead and trained as they finish; those too old are thrown away, their prompts sent again."""
    max_inflight_groups: PositiveInt | None = None
    """evict_requeue: groups dispatched and not yet trained; by default (max_staleness + 1) B."""
    in_flight: Literal["wait", "abort", "keep"] = "wait"
    """What a weight sync does to running groups: waits for them, ends them and sends their prompts again, or
    lets them go on under the new weights."""
    prompts_per_optim_step: PositiveInt = 16
    """B: prompts of a batch, each with its group of completions."""
    prompts_per_rollout_sync: PositiveInt | None = None
    """P: prompts trained between two weight syncs, a multiple of B; by default B, a sync after every step."""
    prompts_per_forward_backward: PositiveInt | None = None
    """With fewer than B, the default, the learner trains on the groups of a step as they arrive."""
    prompts_per_reference_sync: PositiveInt | None = None
    """The reference of the KL penalty becomes the policy each time so many prompts were trained; a multiple
    of B. By default it is the base model for ever."""
    updates_per_batch: PositiveInt = 1
    """Optimizer updates on each batch, all within one step."""
    completions_per_prompt: Annotated[int, Field(ge=2)] = 8
    """Size of a group, within which rewards are compared."""
    max_useless_batches: PositiveInt = 20
    """The run fails after so many batches' worth of groups in a row without one to train on."""
    sampling: SamplingSettings = SamplingSettings()
    loss: LossSettings = LossSettings()
    correction: CorrectionSettings = CorrectionSettings()
    optim: OptimSettings = OptimSettings()
    learner: LearnerSettings = LearnerSettings()
    lora: LoraSettings = LoraSettings()
    engine: EngineSettings = EngineSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    held_out: HeldOutSettings = HeldOutSettings()
    rollouts: RolloutSettings = RolloutSettings()

    @model_validator(mode="after")
    def _schedule_is_sound(self) -> Self:
        batch, per_sync = self.prompts_per_optim_step, self.sync_prompts
        if per_sync % batch:
            raise ValueError(
                f"prompts_per_rollout_sync must be a multiple of prompts_per_optim_step, "
                f"found {per_sync} and {batch}"
            )
        if reason := infeasibility(self.max_staleness, batch, per_sync):
            raise ValueError(f"infeasible: {reason}")
        return self

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        for reason in _contradictions(self):
            raise ValueError(reason)
        return self

    @property
    def sync_prompts(self) -> int:
        """P with its default filled in."""
        return self.prompts_per_rollout_sync or self.prompts_per_optim_step

    @property
    def forward_backward_prompts(self) -> int:
        """prompts_per_forward_backward with its default filled in."""
        return self.prompts_per_forward_backward or self.prompts_per_optim_step

    @property
    def schedule(self) -> Schedule:
        """The law this run obeys."""
        ahead = (self.max_staleness + 1) * self.prompts_per_optim_step
        return Schedule(
            max_staleness=self.max_staleness,
            prompts_per_optim_step=self.prompts_per_optim_step,
            prompts_per_rollout_sync=self.sync_prompts,
            max_steps=self.max_steps,
            max_inflight_groups=(
                (self.max_inflight_groups or ahead) if self.staleness_policy == "evict_requeue" else None
            ),
        )

    def run_id(self, inputs: Mapping[str, str] | None = None) -> str:
        """First 12 hex digits of sha256 over the canonical resolved configuration.

        `inputs`: by dotted key, the fingerprint of what a local path of the configuration holds (see
        `fingerprint.inputs`). It takes the path's place: what is trained on counts, not where it lies.

        Same id, same run: it is never trained twice. What only decides how much is kept, watched or
        held in memory is left out, and so is every key that holds its default: a key that a later release
        adds changes no identity. So the default of a key may never change without a new `_IDENTITY`.
        """
        identity = self.model_dump(mode="json", exclude=dict(_NO_IDENTITY), exclude_defaults=True)
        derived = {
            "prompts_per_rollout_sync": self.prompts_per_optim_step,
            "prompts_per_forward_backward": self.prompts_per_optim_step,
            "max_inflight_groups": (self.max_staleness + 1) * self.prompts_per_optim_step,
        }
        for key, default in derived.items():
            if identity.get(key) == default:
                del identity[key]
        for key, fingerprint in (inputs or {}).items():
            section, _, leaf = key.rpartition(".")
            (identity.setdefault(section, {}) if section else identity)[leaf] = fingerprint
        identity = {key: value for key, value in identity.items() if value != {}}  # nothing of it counts
        identity["identity"] = _IDENTITY
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _contradictions(config: RunConfig) -> Iterator[str]:
    """Reasons why keys, each right by itself, do not go together."""
    batch, chunk = config.prompts_per_optim_step, config.forward_backward_prompts
    if batch % chunk:
        yield (f"prompts_per_forward_backward must divide prompts_per_optim_step, found {chunk} and {batch}")
    if config.max_inflight_groups is not None:
        if config.staleness_policy != "evict_requeue":
            yield "max_inflight_groups is only for staleness_policy: evict_requeue; found admission"
        elif config.max_inflight_groups < batch:
            yield (
                f"infeasible: max_inflight_groups = {config.max_inflight_groups} < prompts_per_optim_step = "
                f"{batch}: a batch could never come together"
            )
    if config.updates_per_batch > 1 and chunk < batch:
        yield (
            "updates_per_batch > 1 goes over the whole batch again, so prompts_per_forward_backward "
            f"must be prompts_per_optim_step = {batch}, found {chunk}"
        )
    yield from _loss_contradictions(config)
    every = config.held_out.every_steps
    if every is not None and every % config.schedule.sync_interval_steps:
        yield (
            f"held_out.every_steps must be a multiple of the sync interval P / B = "
            f"{config.schedule.sync_interval_steps}, found {every}: in between the engine holds older weights"
        )


def _loss_contradictions(config: RunConfig) -> Iterator[str]:
    loss, correction = config.loss, config.correction.name
    token_level = correction in ("token_tis", "icepop", "decoupled")
    if loss.clip >= 1 and (loss.name != "cispo" or loss.clip_high is None):
        yield (
            f"loss.clip must be below 1, found {loss.clip}: a ratio is never below 0 (only cispo may have no "
            "lower bound, with clip_high for the upper one)"
        )
    if correction == "decoupled" and config.updates_per_batch == 1:
        yield (
            "correction.name: decoupled with updates_per_batch: 1 is the plain ratio without its clip, "
            "since the learner has not moved within the batch; use token_tis, or updates_per_batch > 1"
        )
    if loss.name == "gspo" and token_level:
        yield (
            f"loss.name: gspo weighs whole completions, so correction.name: {correction}, which weighs "
            "tokens, would undo that; use sequence_tis or none"
        )
    if loss.name == "cispo" and correction.endswith("_tis") and config.updates_per_batch == 1:
        yield (
            f"loss.name: cispo already is a truncated importance weight, and with updates_per_batch: 1 "
            f"correction.name: {correction} would only take its place; use none"
        )
    reference = config.prompts_per_reference_sync
    if reference is not None and loss.beta == 0:
        yield "prompts_per_reference_sync needs a reference model, which loss.beta: 0 does not keep"
    if reference is not None and reference % config.prompts_per_optim_step:
        yield (
            f"prompts_per_reference_sync must be a multiple of prompts_per_optim_step, "
            f"found {reference} and {config.prompts_per_optim_step}"
        )


class Resources(Settings):
    """What a run may use on this machine; no part of its identity."""

    cores: tuple[int, ...] = ()
    """CPU cores the learner is pinned to; none: wherever the system puts it."""
    device: str = "cpu"
    """Torch device of the learner: `cpu` or `cuda:N`."""
    weight_transfer: WeightTransfer = "file"
    """How its weights reach the engine; an engine that somebody else started must be of the same mind."""

    @model_validator(mode="after")
    def _a_transfer_that_can_be(self) -> Self:
        if self.weight_transfer != "file" and self.device != "cuda:0":
            raise ValueError(
                f"weight_transfer: {self.weight_transfer} goes from cuda:0, the first GPU that the learner "
                f"sees (CUDA_VISIBLE_DEVICES chooses it); found device: {self.device}"
            )
        return self


class RunFile(Settings):
    """`config.json` of a run: what `python -m trainer --config` reads."""

    sweep: str
    run_name: str
    run_id: str
    profile: str | None = None
    tags: tuple[str, ...] = ()
    inputs: dict[str, str] = Field(default_factory=dict)
    """Fingerprints of the local files that the configuration names, by dotted key."""
    config: RunConfig
    resources: Resources = Resources()
