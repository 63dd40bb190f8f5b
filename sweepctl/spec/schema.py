"""The JSON schema of a spec, for editors: the spec's own keys and, inside, those of a run."""

import json
from typing import Any

from sweepctl.spec.keys import leaf_keys
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
    definitions["Axes"] = _axes()
    profile, spec = definitions["Profile"]["properties"], schema["properties"]
    for properties in (profile, spec):
        properties["base"] = {"$ref": "#/$defs/Base"}
        properties["parameters"] = {"$ref": "#/$defs/Axes"}
        properties["zip"] = {"type": "array", "items": {"$ref": "#/$defs/Axes"}}
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    return schema


def schema_text() -> str:
    """The schema as `sweepctl schema` prints it."""
    return json.dumps(sweep_schema(), indent=2, sort_keys=True)


def _base(run: dict[str, Any]) -> dict[str, Any]:
    """A run's configuration, its keys nested or dotted."""
    dotted: dict[str, Any] = {key: {} for key in leaf_keys() if "." in key}
    return {**run, "title": "Base", "properties": {**run["properties"], **dotted}}


def _axes() -> dict[str, Any]:
    values = {"type": "array", "minItems": 1}
    keys = [*leaf_keys(), "task"]
    return {"type": "object", "properties": dict.fromkeys(keys, values), "additionalProperties": False}
