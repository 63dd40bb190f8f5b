"""A run's whole configuration: parsed, validated and hashed without torch."""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainer.schedule import Schedule, infeasibility

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Base of all configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskSettings(Settings):
    """Where the prompts come from. A bare name in a spec means `{name: ...}`."""

    name: Literal["arithmetic", "gsm8k"] = "arithmetic"
    path: str | None = None
    """gsm8k only: a local JSONL file with `question` and `answer`; without it the hub's dataset is used."""
    problems: PositiveInt | None = None
    """Use only the first so many problems; by default 10,000 of arithmetic and all of gsm8k."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:  # noqa: ANN401 - raw YAML
        return {"name": value} if isinstance(value, str) else value


class SamplingSettings(Settings):
    """How completions are drawn. top_p and top_k stay off: they would bias the importance ratios."""

    temperature: PositiveFloat = 1.0
    max_completion_tokens: PositiveInt = 128


class LossSettings(Settings):
    """The policy loss."""

    name: Literal["grpo"] = "grpo"
    clip: PositiveFloat = 0.2
    beta: NonNegativeFloat = 0.0
    """Weight of the KL penalty to the frozen base model; 0 keeps no reference model at all."""


class OptimSettings(Settings):
    """AdamW, with a linear warm-up and then a constant learning rate."""

    lr: PositiveFloat = 1e-6
    betas: tuple[Fraction, Fraction] = (0.9, 0.95)
    weight_decay: NonNegativeFloat = 0.0
    warmup_steps: NonNegativeInt = 0
    max_grad_norm: PositiveFloat = 1.0


class LearnerSettings(Settings):
    """How the learner computes. Weights and optimizer state are always float32."""

    compute_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    tokens_per_micro_batch: PositiveInt = 8192
    """Padded tokens in one forward and backward pass; bounds the memory of a step."""


class EngineSettings(Settings):
    """The rollout engine. `auto` is vLLM wherever it imports, else transformers."""

    name: Literal["auto", "vllm", "transformers"] = "auto"
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    max_model_len: PositiveInt = 1024
    memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of a CUDA device's memory for weights and KV cache, the learner beside it."""


class CheckpointSettings(Settings):
    """When checkpoints are written. The last step always leaves one."""

    every_steps: PositiveInt | None = None


class RolloutSettings(Settings):
    """What is kept in rollouts.jsonl."""

    keep: Fraction = 0.1
    """Share of the groups whose text, tokens, logprobs and rewards are written."""


class RunConfig(Settings):
    """Everything that decides what a run computes. Its hash is the run's identity.

    Raises:
        pydantic.ValidationError: on an unknown key, a wrong type, P that is no multiple of B, or
            settings that can never make progress.
    """

    model: str = "builtin:tiny"
    """`builtin:tiny`, a local folder in Hugging Face format, or a name on the hub."""
    task: TaskSettings = TaskSettings()
    seed: NonNegativeInt = 0
    max_steps: PositiveInt = 100
    max_staleness: NonNegativeInt = 0
    prompts_per_optim_step: PositiveInt = 16
    prompts_per_rollout_sync: PositiveInt | None = None
    """P; by default P = B, a sync after every step."""
    completions_per_prompt: Annotated[int, Field(ge=2)] = 8
    sampling: SamplingSettings = SamplingSettings()
    loss: LossSettings = LossSettings()
    optim: OptimSettings = OptimSettings()
    learner: LearnerSettings = LearnerSettings()
    engine: EngineSettings = EngineSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
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

    @property
    def sync_prompts(self) -> int:
        """P with its default filled in."""
        return self.prompts_per_rollout_sync or self.prompts_per_optim_step

    @property
    def schedule(self) -> Schedule:
        """The law this run obeys."""
        return Schedule(
            max_staleness=self.max_staleness,
            prompts_per_optim_step=self.prompts_per_optim_step,
            prompts_per_rollout_sync=self.sync_prompts,
            max_steps=self.max_steps,
        )

    def run_id(self) -> str:
        """First 12 hex digits of sha256 over the canonical resolved configuration.

        Same id, same run: it is never trained twice. What only decides how much is kept
        (`rollouts`, `checkpoint`) and where memory goes is left out.
        """
        identity = self.model_dump(mode="json", exclude={"rollouts", "checkpoint"})
        identity["prompts_per_rollout_sync"] = self.sync_prompts
        del identity["engine"]["memory_utilization"]
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class Resources(Settings):
    """What a run may use on this machine; no part of its identity."""

    cores: tuple[int, ...] = ()
    """CPU cores the learner is pinned to; none: wherever the system puts it."""
    device: str = "cpu"
    """Torch device of the learner: `cpu` or `cuda:N`."""


class RunFile(Settings):
    """`config.json` of a run: what `python -m trainer --config` reads."""

    sweep: str
    run_name: str
    run_id: str
    profile: str | None = None
    config: RunConfig
    resources: Resources = Resources()


class Evaluation(Settings):
    """One lm-eval call: a model, a task, a number of shots, and where the result goes."""

    label: str
    """What the model is called in reports: `base` or a run's name."""
    model: str
    """`builtin:tiny`, a local checkpoint folder or a hub name."""
    task: Literal["arithmetic_cot", "gsm8k_cot"]
    num_fewshot: NonNegativeInt
    output: str
    """The result file, `<task>_<n>shot.json`; samples go beside it."""
    limit: PositiveInt | None = None
    data: str | None = None
    """gsm8k_cot only: a local JSONL file with the test split; without it the hub's dataset is used."""
    max_completion_tokens: PositiveInt = 128

    def evaluation_id(self, checkpoint_id: str, engine: str, settings: EngineSettings) -> str:
        """First 12 hex digits of sha256 over everything that decides the answers.

        Args:
            checkpoint_id: identity of the weights.
            engine: name and version, such as `vllm 0.32.0`.
            settings: how it computes.
        """
        identity = self.model_dump(mode="json", exclude={"label", "output", "model"})
        identity |= {"checkpoint": checkpoint_id, "engine": engine}
        identity |= settings.model_dump(mode="json", include={"dtype", "max_model_len"})
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


class EvaluationFile(Settings):
    """What `python -m trainer.evaluation --config` reads: all evaluations of one warm engine."""

    engine: EngineSettings = EngineSettings()
    evaluations: tuple[Evaluation, ...]
