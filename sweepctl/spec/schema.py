"""The JSON schema of a spec, for editors: the spec's own keys and, inside, those of a run."""

import json
from collections.abc import Mapping
from typing import Any

from sweepctl.spec.descriptions import DescribedSchema
from sweepctl.spec.keys import leaf_keys, section_keys
from sweepctl.spec.model import Spec
from trainer.config import RunConfig

_REFS = "#/$defs/{model}"
_BASE = {"$ref": "#/$defs/Base"}
_AXES = {"$ref": "#/$defs/Axes"}


def sweep_schema() -> dict[str, Any]:
    """What `sweeps/sweep.schema.json` holds: the spec's own keys and, inside, those of a run."""
    schema = Spec.model_json_schema(ref_template=_REFS, schema_generator=DescribedSchema)
    run = RunConfig.model_json_schema(ref_template=_REFS, schema_generator=DescribedSchema)
    definitions: dict[str, Any] = schema["$defs"]
    definitions.update(run.pop("$defs"))
    leaves = _leaves(run, definitions)
    sections = {key: run["properties"][key] for key in section_keys()}
    definitions["Base"] = _base(run, leaves)
    definitions["TaskSettings"] = {"anyOf": [{"type": "string"}, definitions["TaskSettings"]]}
    definitions["Axis"] = _axis()
    axes = {key: held for key, held in leaves.items() if key != "seed"}
    definitions["Axes"] = _keyed({**axes, "task": sections["task"]}, {"$ref": "#/$defs/Axis"})
    definitions["Condition"] = _keyed({**leaves, **sections}, {})
    _add_run_keys(schema["properties"], definitions)
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    return schema


def schema_text() -> str:
    """The schema as `sweepctl schema` prints it."""
    return json.dumps(sweep_schema(), indent=2, sort_keys=True)


def _add_run_keys(spec: dict[str, Any], definitions: Mapping[str, Any]) -> None:
    """Say of the spec's keys that hold a run's keys which they may be."""
    profile, when = definitions["Profile"]["properties"], definitions["When"]["properties"]
    for properties in (profile, when):
        for key in properties.keys() & spec.keys():  # the same thing, for one machine or some points
            properties[key].setdefault("description", spec[key]["description"])
    for properties in (profile, spec):
        properties["base"] = _described(properties["base"], _BASE)
        properties["parameters"] = _described(properties["parameters"], _AXES)
        properties["zip"] = _described(properties["zip"], {"type": "array", "items": _AXES})
    for key in ("exclude", "include"):
        spec[key]["items"] = _BASE
    for key in ("baseline", "reference"):
        spec[key]["anyOf"] = [_BASE if kind.get("type") == "object" else kind for kind in spec[key]["anyOf"]]
    when["if"] = _described(when["if"], {"$ref": "#/$defs/Condition"})
    when["set"] = {"description": "A run's keys that these points get.", **_BASE}


def _leaves(run: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """What each dotted key of a run may hold."""
    leaves = {}
    for key in leaf_keys():
        section, _, name = key.rpartition(".")
        holder = definitions[run["properties"][section]["$ref"].rpartition("/")[2]] if section else run
        leaves[key] = holder["properties"][name]
    return leaves


def _base(run: dict[str, Any], leaves: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration, its keys nested or dotted."""
    return {**run, "title": "Base", "properties": {**run["properties"], **leaves}}


def _keyed(keys: Mapping[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """A map with a run's keys, each with such a value."""
    properties = {key: _described(held, value) for key, held in keys.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _described(like: Mapping[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    return {"description": like.get("description", ""), **value}


def _axis() -> dict[str, Any]:
    """A list, or a map with one form."""
    values = {"type": "array", "minItems": 1}
    stops = {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 3}
    forms = {
        "values": {"description": "These values, as a plain list.", **values},
        "choice": {"description": "These values; reads better when they are drawn.", **values},
        "range": {"description": "[stop], [start, stop] or [start, stop, step]; without the stop.", **stops},
        "uniform": _numbers("Only with method: random: drawn from between min and max.", "min", "max"),
        "log_uniform": _numbers("As uniform, on a logarithmic scale.", "min", "max"),
        "linspace": _numbers("Evenly spaced values, both ends included.", "min", "max", "num"),
        "logspace": _numbers("As linspace, on a logarithmic scale.", "min", "max", "num"),
    }
    form = {"type": "object", "properties": forms, "minProperties": 1, "maxProperties": 1}
    return {"anyOf": [values, {**form, "additionalProperties": False}]}


def _numbers(description: str, *keys: str) -> dict[str, Any]:
    number = {
        "min": {"description": "The lower end.", "type": "number"},
        "max": {"description": "The upper end.", "type": "number"},
        "num": {"description": "How many values.", "type": "integer"},
    }
    return {
        "description": description,
        "type": "object",
        "properties": {key: number[key] for key in keys},
        "required": list(keys),
        "additionalProperties": False,
    }
