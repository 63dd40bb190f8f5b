"""The JSON schema of a spec, for editors: the spec's own keys and, inside, those of a run."""

import json
from collections.abc import Sequence
from typing import Any

from sweepctl.spec.keys import leaf_keys, section_keys
from sweepctl.spec.model import Spec
from trainer.config import RunConfig

_REFS = "#/$defs/{model}"


def sweep_schema() -> dict[str, Any]:
    """What `sweeps/sweep.schema.json` holds: the spec's own keys and, inside, those of a run."""
    schema = Spec.model_json_schema(ref_template=_REFS)
    run = RunConfig.model_json_schema(ref_template=_REFS)
    definitions: dict[str, Any] = schema["$defs"]
    definitions.update(run.pop("$defs"))
    definitions["Base"] = _base(run)
    definitions["TaskSettings"] = {"anyOf": [{"type": "string"}, definitions["TaskSettings"]]}
    definitions["Axis"] = _axis()
    definitions["Axes"] = _keyed([*leaf_keys(), "task"], {"$ref": "#/$defs/Axis"})
    definitions["Condition"] = _keyed([*leaf_keys(), *section_keys()], {})
    profile, spec = definitions["Profile"]["properties"], schema["properties"]
    for properties in (profile, spec):
        properties["base"] = {"$ref": "#/$defs/Base"}
        properties["parameters"] = {"$ref": "#/$defs/Axes"}
        properties["zip"] = {"type": "array", "items": {"$ref": "#/$defs/Axes"}}
    settings = {"$ref": "#/$defs/Base"}
    for key in ("exclude", "include"):
        spec[key]["items"] = settings
    for key in ("baseline", "reference"):
        spec[key]["anyOf"] = [
            settings if kind.get("type") == "object" else kind for kind in spec[key]["anyOf"]
        ]
    definitions["When"]["properties"].update({"if": {"$ref": "#/$defs/Condition"}, "set": settings})
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    return schema


def schema_text() -> str:
    """The schema as `sweepctl schema` prints it."""
    return json.dumps(sweep_schema(), indent=2, sort_keys=True)


def _base(run: dict[str, Any]) -> dict[str, Any]:
    """A run's configuration, its keys nested or dotted."""
    dotted: dict[str, Any] = {key: {} for key in leaf_keys() if "." in key}
    return {**run, "title": "Base", "properties": {**run["properties"], **dotted}}


def _keyed(keys: Sequence[str], value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict.fromkeys(keys, value), "additionalProperties": False}


def _axis() -> dict[str, Any]:
    """A list, or a map with one form."""
    values = {"type": "array", "minItems": 1}
    number = {"type": "number"}
    forms = {
        "values": values,
        "choice": values,
        "range": {"type": "array", "items": number, "minItems": 1, "maxItems": 3},
        **{name: _numbers("min", "max") for name in ("uniform", "log_uniform")},
        **{name: _numbers("min", "max", "num") for name in ("linspace", "logspace")},
    }
    form = {"type": "object", "properties": forms, "minProperties": 1, "maxProperties": 1}
    return {"anyOf": [values, {**form, "additionalProperties": False}]}


def _numbers(*keys: str) -> dict[str, Any]:
    properties = {key: {"type": "integer" if key == "num" else "number"} for key in keys}
    return {
        "type": "object",
        "properties": properties,
        "required": list(keys),
        "additionalProperties": False,
    }
