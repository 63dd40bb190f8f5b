"""The sweep spec as it is written: frozen models, one field for each key.

Only the shape is checked here. The forms of an axis are `values`' to read. What a key of `base` or an axis
may hold is `trainer.config.RunConfig`'s to say, and is checked in the expansion.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from trainer.paths import LONGEST_NAME, is_sweep_name
from trainer.settings import NonNegativeInt, PositiveFloat, PositiveInt, Settings

EvaluationTask = Literal["arithmetic_cot", "gsm8k_cot"]
Axes = dict[str, Any]
"""By key: a list, or one of the forms in `values`."""

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _parse_duration(value: Any) -> Any:  # noqa: ANN401 - raw YAML
    """`90s`, `10m`, `6h`, `1d` or a number of seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", value)
        if match is None:
            raise ValueError("a duration is a number and a unit, such as 90s, 10m, 6h or 1d")
        return float(match[1]) * _SECONDS[match[2]]
    return value


def _is_free(name: str) -> str:
    if not is_sweep_name(name):
        raise ValueError("should be the name of no other file of the runs directory")
    return name


Duration = Annotated[PositiveFloat, BeforeValidator(_parse_duration, json_schema_input_type=str | float)]


class EvalSpec(Settings):
    """How base models and trained checkpoints are evaluated."""

    num_fewshot: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    """Numbers of worked examples put before each question; every checkpoint is evaluated with each."""
    checkpoints: Annotated[tuple[Literal["last"], ...], Field(min_length=1)] = ("last",)
    """Which checkpoints of a run are evaluated."""
    base_model: bool = True
    """Whether the model is also evaluated before any training."""
    base_evaluations: PositiveInt = 1
    """How often it is: what differs between two evaluations of the same weights is the noise floor."""
    margin: PositiveFloat = 2.0
    """Accuracies closer than this, in percentage points, count as equivalent."""
    limit: PositiveInt | None = None
    """Only the first so many questions."""
    tasks: Annotated[tuple[EvaluationTask, ...], Field(min_length=1)] | None = None
    """lm-eval tasks; by default the one that matches the training task."""
    data: str | None = None
    """A local JSONL file with gsm8k_cot's test questions; by default the hub's."""
    max_completion_tokens: PositiveInt = 128
    """Longest answer; a shorter limit cuts reasoning off."""


class Timeout(Settings):
    """How long things may take."""

    run: Duration | None = None
    """An attempt at a run that takes longer is stopped and counts as failed: `90s`, `10m`, `6h`."""
    idle: Duration | None = None
    """So does one whose trace has not grown for so long."""


class Retry(Settings):
    """What happens after a failure. An interruption is none, and neither is a configuration that is wrong."""

    max_attempts: PositiveInt = 2
    """A run that has failed so often in a row waits for `--retry-failed`."""
    backoff: Duration = 10.0
    """Wait before the second attempt; doubled for each further one."""


class ResourcesSpec(Settings):
    """What a sweep may use of the machine; no part of any run's identity."""

    devices: Literal["auto"] | Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = "auto"
    """GPUs, or cores on a machine without one; auto: all that processes may use here."""
    concurrency: Literal["auto"] | PositiveInt = "auto"
    """Runs at the same time; each has a slot with devices and a warm engine of its own. auto: one for every
    two GPUs, one on CPU."""


MirrorName = Literal["wandb", "tensorboard", "trackio"]


class Profile(Settings):
    """What depends on the machine. `base` and `eval` merge into the shared ones; the rest replaces them."""

    when: Literal["cuda"] | None = None
    """`cuda`: chosen by `--profile auto` where an NVIDIA GPU is visible. Left out: always."""
    base: dict[str, Any] = Field(default_factory=dict)
    parameters: Axes | None = None
    zip: tuple[Axes, ...] | None = None
    seeds: tuple[NonNegativeInt, ...] | None = None
    eval: EvalSpec | None = None


class When(Settings):
    """What holds only for some points."""

    condition: dict[str, Any] = Field(alias="if")
    """Equality on every key given; a list of values means one of them."""
    settings: dict[str, Any] = Field(default_factory=dict, alias="set")
    tags: tuple[str, ...] = ()


class Spec(Settings):
    """A sweep: what all runs share, what varies, and how the runs are compared."""

    version: Literal[1]
    """Version of this format."""
    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LONGEST_NAME),
        AfterValidator(_is_free),
    ]
    """The sweep's folder under the runs directory."""
    base: dict[str, Any] = Field(default_factory=dict)
    """Trainer configuration shared by every run."""
    profiles: dict[str, Profile] = Field(default_factory=dict)
    """Named variants; `--profile auto` takes the first whose `when` holds."""
    parameters: Axes = Field(default_factory=dict)
    """Axes that are crossed, the last varying fastest."""
    zip: tuple[Axes, ...] = ()
    """Each entry's axes vary together, and the entry is crossed with the rest."""
    exclude: tuple[dict[str, Any], ...] = ()
    """Points to leave out: every point equal on all keys given."""
    include: tuple[dict[str, Any], ...] = ()
    """Further points, given over `base`; not touched by `exclude`."""
    when: tuple[When, ...] = ()
    """Settings and tags for the points that meet a condition; later entries win."""
    method: Literal["grid", "random"] = "grid"
    """`grid`: every combination of the axes. `random`: `max_runs` points drawn from them."""
    max_runs: PositiveInt | None = None
    """random: how many points are drawn, each of them run with every seed."""
    seed: NonNegativeInt | None = None
    """random: the seed of the drawing, by default 0; the same points are drawn every time."""
    infeasible: Literal["skip", "error"] = "skip"
    """What to do with points that can never make progress, those with k - 1 > max_staleness."""
    seeds: tuple[NonNegativeInt, ...] | None = None
    """The whole sweep is repeated with each seed."""
    run_name: str | None = None
    """Template such as `s{max_staleness}_lr{optim.lr}`; a value is printed as it was written."""
    baseline: Literal["synchronous"] | dict[str, Any] = "synchronous"
    """Each run's twin: `synchronous` is s = 0 and P = B; a map overrides the keys it gives."""
    reference: dict[str, Any] | None = None
    """The one run that every run is also compared with."""
    eval: EvalSpec | None = None
    """Left out, nothing is evaluated."""
    stop_after_consecutive_failures: PositiveInt | None = None
    """After so many failed runs in a row the rest is skipped."""
    timeout: Timeout = Timeout()
    retry: Retry = Retry()
    resources: ResourcesSpec = ResourcesSpec()
    mirrors: tuple[MirrorName, ...] = ()
    """Where step records are also sent, for who watches there; the trace stays the truth."""
    tags: tuple[str, ...] = ()
    """Words that `--only` and the reports can select by; no part of any run's identity."""
