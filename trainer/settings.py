"""The sections of a run's configuration. Torch-free.

What each key may hold by itself is checked here, what keys must agree on in `config`.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


def _as_tuple(value: Any) -> Any:  # noqa: ANN401 - raw YAML
    return tuple(value) if isinstance(value, list) else value


WeightTransfer = Literal["file", "ipc", "nccl"]
"""How the learner's weights reach the engine: through a file in shared memory, or by vLLM's own transfer, on
one GPU (ipc) or from one to another (nccl)."""

Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
"""A list of texts. What a section reads before its checks is Python and no JSON any more to a strict check,
which then takes no list for a tuple."""


class Settings(BaseModel):
    """Base of all configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskSettings(Settings):
    """Where the prompts come from and what they are worth. A bare name in a spec means `{name: ...}`."""

    name: Literal["arithmetic", "gsm8k", "dataset"] = "arithmetic"
    """`dataset`: any question-and-answer dataset, on the hub or in a local file."""
    path: str | None = None
    """dataset: a name on the hub, or a local .jsonl or .parquet file; gsm8k: a local .jsonl or .parquet file
    instead of the hub's dataset."""
    subset: str | None = None
    """Configuration of a dataset on the hub, such as `main`."""
    split: str = "train"
    """Split of a dataset on the hub that is trained on."""
    held_out_path: str | None = None
    """A local file with the problems of `held_out`."""
    held_out_split: str = "test"
    """Split of a dataset on the hub that holds the problems of `held_out`."""
    question_column: str = "question"
    """Column of a dataset that holds the question."""
    answer_column: str = "answer"
    """Column of a dataset that holds the reference answer."""
    template: str = "Q: {question}\nA:"
    """The prompt; `{question}` is the question's text, other names are columns of the dataset. By default it
    is that of lm-eval's gsm8k_cot, with which checkpoints are evaluated."""
    stop: Texts | None = None
    """Strings that end a completion; by default those of the task."""
    reward: str | None = None
    """`exact_match`, `math_verify`, or a path `package.module:function`; by default that of the task."""
    reward_timeout_s: PositiveFloat = 10.0
    """Time limit for the reward of one completion, where it is computed in a worker process."""
    problems: PositiveInt | None = None
    """Use only the first so many problems; by default 10,000 of arithmetic and all of the others."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:  # noqa: ANN401 - raw YAML
        return {"name": value} if isinstance(value, str) else value


class SamplingSettings(Settings):
    """How completions are drawn. top_p and top_k stay off: they would bias the importance ratios."""

    temperature: PositiveFloat = 1.0
    """Logits are divided by it, the engine's when it samples and the learner's when it computes logprobs."""
    max_completion_tokens: PositiveInt = 128
    """Longest completion; what has not ended by then is cut off."""
    truncated: Literal["keep", "mask"] = "keep"
    """Completions cut off by max_completion_tokens. `keep`: trained on with the reward they got. `mask`: they
    count in their group's baseline, but not in the loss (overlong filtering, DAPO, arXiv:2503.14476)."""


class LossSettings(Settings):
    """The policy loss.

    What suits a loss differs: GSPO's paper clips at 3e-4 and 4e-4, since the ratio of a whole completion
    moves far less than a token's; DAPO's at 0.2 and 0.28.
    """

    name: Literal["grpo", "dr_grpo", "dapo", "gspo", "cispo"] = "grpo"
    """What is clipped and averaged over what; docs/trainer.md has each formula and its paper."""
    clip: PositiveFloat = 0.2
    """How far below 1 a ratio is clipped, and above where `clip_high` is not given."""
    clip_high: PositiveFloat | None = None
    """How far above 1 a ratio is clipped; by default as far as below."""
    beta: NonNegativeFloat = 0.0
    """Weight of the KL penalty to the reference model; 0 keeps no reference model at all."""


class CorrectionSettings(Settings):
    """How samples of an older policy, or of an engine that computes differently, are reweighted."""

    name: Literal["none", "token_tis", "sequence_tis", "icepop", "decoupled"] = "none"
    """`none`: the loss's own ratio is to the generator. Otherwise its ratio is to the learner before the
    step, and each token is weighted by exp(learner before the step - generator)."""
    cap: PositiveFloat = 2.0
    """token_tis and sequence_tis: weights are cut off here."""
    low: PositiveFloat = 0.5
    """icepop: tokens whose weight is below are left out."""
    high: PositiveFloat = 5.0
    """icepop: tokens whose weight is above are left out."""

    @model_validator(mode="after")
    def _leaves_samples_of_the_policy_itself_alone(self) -> Self:
        if self.cap < 1:
            raise ValueError(f"cap must be at least 1, the weight of an on-policy token; found {self.cap}")
        if not self.low < 1 < self.high:
            raise ValueError(
                f"low and high must have 1, the weight of an on-policy token, between them; "
                f"found {self.low} and {self.high}"
            )
        return self


class OptimSettings(Settings):
    """AdamW, with a linear warm-up and then a constant learning rate."""

    lr: PositiveFloat = 1e-6
    """Learning rate after the warm-up."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    """Decay of the running means of gradients and of their squares."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled: each step takes lr times this share off a weight."""
    warmup_steps: NonNegativeInt = 0
    """Over so many steps the learning rate rises linearly to `lr`."""
    max_grad_norm: PositiveFloat = 1.0
    """A longer gradient is scaled down to this norm."""


class LearnerSettings(Settings):
    """How the learner computes. Weights and optimizer state are always float32."""

    compute_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """`bfloat16` is torch's autocast: matrix products in bfloat16, what needs the precision in float32."""
    tokens_per_micro_batch: PositiveInt = 8192
    """Padded tokens in one forward and backward pass; bounds the memory of a step."""
    gradient_checkpointing: Literal["auto", True, False] = "auto"
    """Recompute activations in the backward pass: less memory, about a third more time. `auto`: on a GPU
    whose memory would not hold them, never on CPU."""


class LoraSettings(Settings):
    """Low-rank adapters (arXiv:2106.09685) in place of training every weight."""

    rank: NonNegativeInt = 0
    """0: every weight is trained."""
    alpha: PositiveFloat = 32.0
    """What an adapter adds is scaled by alpha / rank."""
    target_modules: str = "all-linear"
    """`all-linear`, or a regular expression that names modules."""


class EngineSettings(Settings):
    """The rollout engine. `auto` is vLLM wherever it imports, else transformers."""

    name: Literal["auto", "vllm", "transformers"] = "auto"
    """What generates the completions."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the engine's weights and computation."""
    max_model_len: PositiveInt = 1024
    """Most tokens of a prompt and its completion together."""
    memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of a CUDA device's memory that the engine takes for its weights, KV cache and computation. What a
    learner on the same device needs beside it is counted before the run starts."""
    deterministic: bool = False
    """Completions do not depend on what else is running. The transformers engine then serves one group at a
    time; vLLM can do it on CUDA only."""
    timeout_s: PositiveFloat = 600.0
    """An engine that has sent nothing for so long, while it should, hangs."""


class CheckpointSettings(Settings):
    """When checkpoints are written. The last step always leaves one, and so does an interruption."""

    every_steps: PositiveInt | None = 10
    """Steps between two checkpoints; null: no others than those."""
    keep: PositiveInt | None = None
    """Only the newest so many stay; null: all. The state to resume from is kept with the newest only."""


class HeldOutSettings(Settings):
    """Evaluation on held-out problems during the run, greedily, through the run's own engine."""

    every_steps: PositiveInt | None = None
    """Steps between two evaluations, a multiple of the sync interval P / B; null: never."""
    problems: PositiveInt = 200
    """How many of them are answered each time."""


class RolloutSettings(Settings):
    """What is kept in rollouts.jsonl."""

    keep: Fraction = 0.1
    """Share of the groups whose text, tokens, logprobs and rewards are written."""
