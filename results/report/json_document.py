"""A `Report` as JSON, by a documented schema: `report.schema.json`, made from the models here."""

import json
import math
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, JsonValue

from results.report.build import Report
from results.report.gate import GateOutcome
from results.report.rows import TABLES
from results.report.rows import accuracy as accuracy_rows
from results.report.rows import plan as plan_rows
from results.report.rows import runs as run_rows
from results.report.rows import speed as speed_rows
from results.report.rows import staleness as staleness_rows
from results.report.rows.base import Row

_R = TypeVar("_R", bound=Row)
_SCHEMA_HEAD = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A sweep's report"}


class GateDocument(BaseModel):
    """What a gate decided."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    expression: str
    passed: bool
    reasons: list[str]
    """Why it failed: rows with their values, values that are missing."""


class ReportDocument(BaseModel):
    """Everything a report says; its tables hold raw numbers, unrounded."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    version: Literal[1] = 1
    sweep: str
    profile: str | None
    """Under which profile of the spec the runs were made; `imported`: elsewhere."""
    models: list[str]
    created_unix: float | None
    published_unix: float
    """When the store was published that this was computed from."""
    margin_points: float
    """Of equivalence, in percentage points."""
    objective: str
    configurations: dict[str, dict[str, JsonValue]]
    """By run name, the configuration by dotted keys."""
    notices: list[str]
    """What is missing or doubtful."""
    speed_observations: list[str]
    quality_observations: list[str]
    staleness_observations: list[str]
    plan_observations: list[str]
    """How right the predictions were."""
    conclusions: list[str]
    experiments: list[run_rows.ExperimentRow]
    arms: list[run_rows.ArmRow]
    speedups: list[speed_rows.SpeedupRow]
    arm_speedups: list[speed_rows.ArmSpeedupRow]
    published_speed: list[speed_rows.PublishedSpeedRow]
    published_speedups: list[speed_rows.PublishedSpeedupRow]
    published_step_times: list[speed_rows.PublishedStepTimesRow]
    modes: list[speed_rows.ModesRow]
    staleness: list[staleness_rows.StalenessRow]
    fates: list[staleness_rows.FateRow]
    ages: list[staleness_rows.AgesRow]
    waste: list[staleness_rows.WasteRow]
    bias: list[staleness_rows.BiasRow]
    age_effects: list[staleness_rows.AgeEffectsRow]
    age_trends: list[staleness_rows.AgeTrendsRow]
    accuracy: list[accuracy_rows.AccuracyRow]
    deltas: list[accuracy_rows.DeltaRow]
    arm_deltas: list[accuracy_rows.ArmDeltaRow]
    noise_floor: list[accuracy_rows.NoiseFloorRow]
    plan: list[plan_rows.PlanRow]
    plan_arms: list[plan_rows.PlanArmRow]
    warnings: list[run_rows.WarningRow]
    quarantine: list[run_rows.QuarantineRow]
    gate: GateDocument | None = None
    """Of --gate; null without one."""


def render_json(report: Report, gate: GateOutcome | None = None) -> str:
    """The report as one JSON object; what is missing is null."""
    content = document(report, gate).model_dump(mode="json")
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def document(report: Report, gate: GateOutcome | None = None) -> ReportDocument:
    """The report as its models."""
    plain = (
        *("sweep", "profile", "models", "created_unix", "published_unix", "margin_points", "objective"),
        *(
            "configurations",
            "notices",
            "speed_observations",
            "quality_observations",
            "staleness_observations",
            "plan_observations",
        ),
        "conclusions",
    )
    content: dict[str, Any] = {name: getattr(report, name) for name in plain}
    content |= {name: table_rows(getattr(report, name), model) for name, model in TABLES.items()}
    if gate is not None:
        content["gate"] = GateDocument(
            expression=gate.expression, passed=gate.passed, reasons=list(gate.reasons)
        )
    return ReportDocument.model_validate(content)


def table_rows(frame: pd.DataFrame, model: type[_R]) -> list[_R]:
    """The rows of a frame as their model; NaN, NA and infinity are None."""
    names = [str(name) for name in frame.columns]
    columns = [_plain_column(frame[name]) for name in names]
    return [model.model_validate(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]


def schema_text() -> str:
    """`report.schema.json`, as it is checked in."""
    schema = ReportDocument.model_json_schema(mode="serialization")
    return json.dumps({**schema, **_SCHEMA_HEAD}, indent=2) + "\n"


def write_schema() -> None:
    """Writes `report.schema.json` anew; `make docs` does."""
    (Path(__file__).parent / "report.schema.json").write_text(schema_text(), encoding="utf-8")


def _plain_column(column: "pd.Series[Any]") -> list[Any]:
    values = column.astype(object).tolist()
    arrays_as_lists = (value.tolist() if isinstance(value, np.ndarray) else value for value in values)
    return [None if _missing(value) else value for value in arrays_as_lists]


def _missing(value: object) -> bool:
    return (
        value is None
        or value is pd.NA
        or value is pd.NaT
        or (isinstance(value, float) and not math.isfinite(value))
    )
