"""Reads the small JSON files of a sweep: its manifest, and each run's configuration and status.

A sweep folder written by hand or by an import may lack any of them; what is missing is None, and what
cannot be read is a `BadFileError` that the caller puts on record.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from trainer.config import RunConfig, RunFile
from trainer.errors import SweepctlError
from trainer.paths import RunPaths, SweepPaths, slug
from trainer.records import RunStatus

Config = dict[str, Any]
"""A run's configuration as JSON: nested dictionaries of plain values."""

BASE_MODELS = "base_models"
"""Folder of the base models' evaluations, beside the runs; see `SweepPaths.base_evaluation`."""

_M = TypeVar("_M", bound=BaseModel)


class BadFileError(SweepctlError):
    """A file of a sweep cannot be read."""


class StepTimeRange(BaseModel):
    """`66 steps in 28.2-29.1 s`, as a publication words it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min: float = Field(ge=0)
    max: float = Field(ge=0)
    steps: int = Field(ge=0)
    approximate: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, above max, {self.max}")
        return self


class StepTimes(BaseModel):
    """What was published of a run's step times, in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int | None = Field(default=None, ge=1)
    """How many steps the figures are over."""
    mean: float | None = Field(default=None, gt=0)
    std: float | None = Field(default=None, ge=0)
    """Of a sample, n - 1 in the denominator."""
    median: float | None = Field(default=None, gt=0)
    min: float | None = Field(default=None, ge=0)
    max: float | None = Field(default=None, ge=0)
    ranges: tuple[StepTimeRange, ...] = ()
    values: tuple[Annotated[float, Field(ge=0)], ...] = ()
    """The time of every step, in order, where all were given."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        given = [(name, getattr(self, name)) for name in ("min", "median", "mean", "max")]
        known = {name: value for name, value in given if value is not None}
        for low, high in (("min", "median"), ("median", "max"), ("min", "mean"), ("mean", "max")):
            if low in known and high in known and known[low] > known[high]:
                raise ValueError(f"{low} is {known[low]}, above {high}, {known[high]}")
        return self


class PublishedAccuracy(BaseModel):
    """One accuracy that was published without lm-eval's file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    task: str
    num_fewshot: int = Field(ge=0)
    percent: float = Field(ge=0, le=100)
    """As published, rounded."""
    filter: str = "strict-match"
    questions: int | None = Field(default=None, ge=1)
    """With it, the number of right answers is known exactly, and so is the unrounded accuracy."""
    correct: int | None = Field(default=None, ge=0)

    @property
    def exact_percent(self) -> float:
        """Unrounded where the number of questions is known, as a difference of two needs it."""
        if self.questions is None:
            return self.percent
        correct = round(self.percent / 100 * self.questions) if self.correct is None else self.correct
        return 100 * correct / self.questions


class Published(BaseModel):
    """What is known of a run that was made elsewhere and left no trace: never mixed with measurements."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    training_time_s: float | None = None
    step_time_s: StepTimes | None = None
    accuracy: tuple[PublishedAccuracy, ...] = ()
    notes: str | None = None
    other: Config = {}
    """Settings that the trainer has no key for."""


class Imported(BaseModel):
    """That a sweep was not run here."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    source: str = Field(alias="from")
    """The folder it came from, by name."""
    unix: float


class PlannedRun(BaseModel):
    """One run of the plan, feasible or not."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run_name: str
    run_id: str | None = None
    state: Literal["planned", "infeasible"] = "planned"
    reason: str | None = None
    config: Config = {}
    label: str | None = None
    base_name: str | None = None
    """What its untrained model is called under `base_models`, where that is not the model's own name."""
    published: Published | None = None
    prediction: JsonValue = None
    """What was predicted of it, as written: one that cannot be read must not take the plan with it. See
    `results.files.prediction_rows`."""


class Manifest(BaseModel):
    """`sweep.json`: the spec as resolved, the plan, the environment and the state of git."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    name: str | None = None
    profile: str | None = None
    created_unix: float | None = None
    spec: Config = {}
    baseline: Literal["synchronous"] | Config | None = None
    reference: Config | None = None
    margin: float = 2.0
    base_models: list[str] = []
    runs: list[PlannedRun] = []
    environment: Config = {}
    git: Config = {}
    imported: Imported | None = None


@dataclass(frozen=True)
class RunRecord:
    """What the small files say of one run."""

    name: str
    plan: PlannedRun | None
    position: int | None
    file: RunFile | None
    status: RunStatus | None

    @cached_property
    def config(self) -> Config:
        """The configuration that ran, or the planned one while there is none."""
        if self.file is not None:
            return self.file.config.model_dump(mode="json")
        return self.plan.config if self.plan else {}

    @property
    def state(self) -> str:
        """A `RunState`, or `infeasible`."""
        if self.status is not None:
            return self.status.state.value
        return "infeasible" if self.plan and self.plan.state == "infeasible" else "pending"

    @property
    def reason(self) -> str | None:
        """Why the run is infeasible or ended badly, as whoever decided it put it."""
        if self.status is not None:
            return self.status.reason
        return self.plan.reason if self.plan else None

    def row(self, sweep: str) -> dict[str, Any]:
        """The run as a row of table `runs`."""
        config = self.config
        batch = config.get("prompts_per_optim_step")
        per_sync = config.get("prompts_per_rollout_sync") or batch
        model = config.get("model")
        base = (self.plan.base_name if self.plan else None) or model
        return {
            "sweep": sweep,
            "run_name": self.name,
            "position": self.position,
            "label": (self.plan.label if self.plan else None) or self.name,
            "run_id": self.file.run_id if self.file else (self.plan.run_id if self.plan else None),
            "arm_id": identity({**config, "seed": 0}),
            "state": self.state,
            "reason": self.reason,
            "attempt": self.status.attempt if self.status else None,
            "heartbeat_unix": self.status.heartbeat if self.status else None,
            "profile": self.file.profile if self.file else None,
            "model": model,
            "base_slug": slug(base) if base else None,
            "task": _name_of(config.get("task")),
            "seed": config.get("seed"),
            "max_steps": config.get("max_steps"),
            "max_staleness": config.get("max_staleness"),
            "prompts_per_optim_step": batch,
            "prompts_per_rollout_sync": per_sync,
            "sync_interval_steps": per_sync // batch if batch and per_sync else None,
            "completions_per_prompt": config.get("completions_per_prompt"),
            "lr": (config.get("optim") or {}).get("lr"),
            "cores": json.dumps(self.file.resources.cores) if self.file else None,
            "config": json.dumps(config),
        }


def read_json_model(path: Path, model: type[_M]) -> _M | None:
    """The file as `model`, or None where there is no such file.

    Raises:
        BadFileError: when it is no such JSON.
    """
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadFileError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error


def run_folders(sweep: SweepPaths, manifest: Manifest | None) -> Iterator[RunPaths]:
    """The folders of a sweep's runs.

    The plan names them where there is one; a folder it does not name was set aside because another
    run took its place. Without a plan, every folder with a configuration or a trace is a run.
    """
    if manifest is not None and manifest.runs:
        yield from (sweep.run(planned.run_name) for planned in manifest.runs)
        return
    for folder in sorted(sweep.root.iterdir()):
        paths = RunPaths(folder)
        if folder.name != BASE_MODELS and is_utf8(folder.name) and _has_run(paths):
            yield paths


def is_utf8(name: str) -> bool:
    """Whether a file's name is text, as a store's columns need it: Python lets other bytes through."""
    return name.isascii() or not any("\udc80" <= character <= "\udcff" for character in name)


def _has_run(paths: RunPaths) -> bool:
    try:
        return paths.config.exists() or paths.trace.exists()
    except OSError:  # not ours to enter, so not ours to call empty
        return True


def identity(config: Config) -> str | None:
    """The `run_id` of a configuration, or None where it is incomplete or infeasible.

    Without the two knobs it is incomplete: of a run that was imported they may be unknown, and unknown
    is not the default.
    """
    known = {key: value for key, value in config.items() if value is not None}
    if not known.keys() >= {"max_staleness", "prompts_per_optim_step"}:
        return None
    try:
        return RunConfig.model_validate(known).run_id()
    except ValidationError:
        return None


def _name_of(task: object) -> str | None:
    """The task's name, given bare or as `{name: ...}`."""
    name = task.get("name") if isinstance(task, dict) else task
    return name if isinstance(name, str) else None
