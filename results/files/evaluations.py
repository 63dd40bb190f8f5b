"""lm-eval's own result and sample files -> rows of `evals` and `eval_samples`."""

import json
import math
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from results.files.sweeps import BASE_MODELS, BadFileError, read_json_model
from trainer.paths import base_repeat, metadata_path

_NAME = re.compile(r"(?P<task>.+)_(?P<shots>\d+)shot\.json")
_NOT_SETTINGS = frozenset(
    {
        "pretrained",
        "model",
        "tokenizer",
        "base_url",
        "path",
        "peft",
        "num_concurrent",
        "max_retries",
        "timeout",
    }
)
"""Model arguments that say which model, or how it is reached: they may differ between results compared."""


_OUR_MODEL = "EngineModel"
"""What lm-eval notes as the model when `trainer.evaluation` called it: the name of its class."""


class LmEvalResult(BaseModel):
    """The parts of an lm-eval result that are read."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    results: dict[str, dict[str, Any]]
    configs: dict[str, dict[str, Any]] = {}
    versions: dict[str, Any] = {}
    n_shot: dict[str, int] = Field(default={}, alias="n-shot")
    higher_is_better: dict[str, dict[str, bool | None]] = {}
    n_samples: dict[str, dict[str, int]] = Field(default={}, alias="n-samples")
    group_subtasks: dict[str, list[str]] = {}
    config: dict[str, Any] = {}
    model_name: str | None = None
    date: float | None = None
    """When it was made, unix seconds."""
    task_hashes: dict[str, str] = {}
    chat_template_sha: str | None = None
    system_instruction_sha: str | None = None
    max_length: int | None = None


class Meta(BaseModel):
    """What the product writes beside a result."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    evaluation_id: str | None = None
    wall_s: float | None = None
    engine: str | None = None
    dtype: str | None = None
    max_model_len: int | None = None


class Sample(BaseModel):
    """One line of a sample file: one question seen through one filter."""

    model_config = ConfigDict(extra="ignore")

    doc_id: int = Field(ge=0, lt=2**61)
    """Twice of it and one more fit into 64 bits; see `results.tables.answers`."""
    filter: str = "none"
    exact_match: float = Field(ge=0, le=1, allow_inf_nan=False)
    doc_hash: str | None = None
    target: Any = None
    filtered_resps: Any = None


SAMPLES: TypeAdapter[Sample] = TypeAdapter(Sample)


def is_result(path: Path) -> bool:
    """Whether a file's name is that of a result: `<task>_<n>shot.json`."""
    return _NAME.fullmatch(path.name) is not None


def read_result(path: Path) -> LmEvalResult:
    """What lm-eval wrote.

    Raises:
        BadFileError: when it is not what lm-eval writes.
        OSError: when it cannot be read.
    """
    try:
        return LmEvalResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        raise BadFileError(f"{path}: not an lm-eval result: {reason}") from error


def is_our_own(result: LmEvalResult) -> bool:
    """Whether `trainer.evaluation` made a result; metadata then belongs to it."""
    return result.config.get("model") == _OUR_MODEL


def read_metadata(result: Path) -> Meta | None:
    """What lies beside a result, or None where nothing does.

    Raises:
        BadFileError: when it is no such JSON.
        OSError: when it cannot be read.
    """
    return read_json_model(metadata_path(result), Meta)


def evaluation_rows(result: Path, meta: Meta | None, runs_dir: Path) -> list[dict[str, Any]]:
    """A row of `evals` per metric and filter of the task the file is named after.

    Where it names none of its tasks, of every task in it. No rows while a result of our own has no
    readable metadata: that file is written last, so more is to come.

    Raises:
        BadFileError: when it is not what lm-eval writes.
    """
    parsed = read_result(result)
    if meta is None:
        if is_our_own(parsed):
            return []
        meta = Meta()  # lm-eval run by hand leaves none
    owner = _owner(result.relative_to(runs_dir))
    name = _NAME.fullmatch(result.name)
    named = name["task"] if name else None
    tasks = {named: parsed.results[named]} if named in parsed.results else parsed.results
    rows = []
    for task, metrics in tasks.items():
        shots = parsed.n_shot.get(task, int(name["shots"]) if name else 0)
        common = {
            "path": result.relative_to(runs_dir).as_posix(),
            **owner,
            "task": task,
            "num_fewshot": shots,
            "questions": parsed.n_samples.get(task, {}).get("effective"),
            "settings": json.dumps(_settings(parsed, meta, task), sort_keys=True),
            "evaluation_id": meta.evaluation_id,
            "wall_s": meta.wall_s,
        }
        rows += [{**common, **metric} for metric in _metrics(metrics, parsed.higher_is_better.get(task, {}))]
    return rows


def sample_columns(samples: list[Sample], result: Path, runs_dir: Path) -> dict[str, list[Any]]:
    """Samples as columns of `eval_samples`."""
    return {
        "path": [result.relative_to(runs_dir).as_posix()] * len(samples),
        "filter": [sample.filter for sample in samples],
        "doc_id": [sample.doc_id for sample in samples],
        "doc_hash": [sample.doc_hash for sample in samples],
        "target": [None if sample.target is None else str(sample.target) for sample in samples],
        "answer": [_first_answer(sample.filtered_resps) for sample in samples],
        "exact_match": [sample.exact_match for sample in samples],
    }


def _owner(relative: Path) -> dict[str, str | None]:
    """Whose result it is, by where it lies; see `trainer.paths`."""
    sweep, folder, *rest = relative.parts
    if folder == BASE_MODELS:
        slug, repeat = base_repeat(rest[0])
        checkpoint = "base" if repeat == 1 else f"base_repeat_{repeat}"
        return {"sweep": sweep, "run_name": None, "base_slug": slug, "checkpoint": checkpoint}
    return {"sweep": sweep, "run_name": folder, "base_slug": None, "checkpoint": rest[1]}


def _metrics(values: dict[str, Any], better: dict[str, bool | None]) -> list[dict[str, Any]]:
    """lm-eval's `exact_match,strict-match` with its `exact_match_stderr,strict-match`, one row each."""
    rows = []
    for key, value in values.items():
        metric, comma, filter_name = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        stderr = values.get(f"{metric}_stderr,{filter_name}")
        rows.append(
            {
                "metric": metric,
                "filter": filter_name,
                "higher_is_better": better.get(metric),
                "value": _as_float(value),
                "stderr": _as_float(stderr) if isinstance(stderr, int | float) else None,
            }
        )
    return rows


def _as_float(value: float) -> float:
    """JSON's integers have no end; one too large is infinite, which no column takes."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _settings(result: LmEvalResult, meta: Meta, task: str) -> dict[str, Any]:
    """What must agree before two results may be compared: not the model, but everything around it."""
    task_config, config = result.configs.get(task, {}), result.config
    arguments = _model_arguments(config.get("model_args"))
    return {
        "task_version": result.versions.get(task),
        "num_fewshot": result.n_shot.get(task),
        "questions": result.n_samples.get(task, {}).get("effective"),
        "limit": config.get("limit"),
        "dataset": [task_config.get(key) for key in ("dataset_path", "dataset_name", "test_split")],
        "dataset_hash": result.task_hashes.get(task),
        "chat_template": result.chat_template_sha,
        "system_instruction": result.system_instruction_sha,
        "generation": task_config.get("generation_kwargs"),
        "generation_overrides": config.get("gen_kwargs"),
        "context_length": meta.max_model_len or result.max_length,
        "engine": meta.engine or config.get("model"),
        "dtype": arguments.pop("dtype", None) or meta.dtype,
        "engine_arguments": arguments,
    }


def _model_arguments(arguments: object) -> dict[str, Any]:
    """lm-eval's `model_args`, a mapping or `a=1,b=2`, without what names the model."""
    if isinstance(arguments, str):
        pairs = (part.partition("=") for part in arguments.split(",") if part)
        arguments = {key: value for key, _, value in pairs}
    if not isinstance(arguments, dict):
        return {}
    return {key: value for key, value in sorted(arguments.items()) if key not in _NOT_SETTINGS}


def _first_answer(filtered: object) -> str | None:
    """What the filter extracted: lm-eval keeps a list with one answer per repeat."""
    if isinstance(filtered, list):
        filtered = filtered[0] if filtered else None
    return None if filtered is None else str(filtered)
