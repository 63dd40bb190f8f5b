"""The JSON schema of a spec: what an editor shows of each key, and what it underlines."""

import pytest
from jsonschema import Draft7Validator

from sweepctl.spec.descriptions import DescribedSchema, field_docstrings
from sweepctl.spec.schema import schema_text, sweep_schema
from trainer.settings import PositiveInt, Settings

SCHEMA = sweep_schema()
HEAD = {"version": 1, "name": "example"}


class Inner(Settings):
    """What belongs together.

    Raises:
        ValueError: never.
    """

    size: PositiveInt = 1
    """How large,
    and no larger."""
    silent: int = 0
    other: int = 0
    "Not so silent."


class Outer(Settings):
    """Of two sections."""

    plain: Inner = Inner()
    described: Inner = Inner()
    """The second."""


def properties(schema, path=()):
    """Every property of a schema, at every level, with where it stands."""
    if isinstance(schema, dict):
        inner = schema.get("properties", {})
        yield from (((*path, key), value) for key, value in inner.items())
        for key, value in schema.items():
            yield from properties(value, (*path, key))
    elif isinstance(schema, list):
        for position, value in enumerate(schema):
            yield from properties(value, (*path, position))


def shown(*keys):
    """The description an editor finds on its way down some keys of a spec."""
    held = SCHEMA
    for key in keys:
        held = held["properties"][key]
        description = held.get("description")
        if "$ref" in held:
            held = SCHEMA["$defs"][held["$ref"].rpartition("/")[2]]
    return description


def test_every_property_at_every_level_has_a_description():
    found = dict(properties(SCHEMA))
    assert [path for path, held in found.items() if not held.get("description")] == []
    assert {("parameters",), ("$defs", "Axes", "optim.lr"), ("$defs", "Retry", "backoff")} <= found.keys()


@pytest.mark.parametrize(
    ("keys", "description"),
    [
        (("parameters",), "Axes that are crossed, the last varying fastest."),
        (("retry", "backoff"), "Wait before the second attempt; doubled for each further one."),
        (("base", "optim.lr"), "Learning rate after the warm-up."),
        (("base", "optim", "lr"), "Learning rate after the warm-up."),
        (("parameters", "optim.lr"), "Learning rate after the warm-up."),
        (("base", "optim"), "AdamW, with a linear warm-up and then a constant learning rate."),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_an_editor_shows_the_docstring_of_a_key(keys, description):
    assert shown(*keys) == description


def test_a_profile_describes_what_it_has_in_common_with_the_spec():
    profile = SCHEMA["$defs"]["Profile"]["properties"]
    assert profile["seeds"]["description"] == shown("seeds")
    assert profile["when"]["description"] != shown("when")


def test_what_is_for_programmers_is_not_shown():
    assert "Raises" not in schema_text()


@pytest.mark.parametrize(
    ("base", "right"),
    [
        ({"optim.lr": 1e-5, "task": "gsm8k", "loss": {"name": "dapo"}}, True),
        ({"optim.lr": "fast"}, False),
        ({"loss.name": "dapoo"}, False),
        ({"task.stop": None, "optim.betas": [0.9, 0.99]}, True),
    ],
    ids=str,
)
def test_a_dotted_key_is_checked_like_a_nested_one(base, right):
    assert Draft7Validator(SCHEMA).is_valid({**HEAD, "base": base}) == right


def test_a_fields_docstring_is_the_string_right_below_it():
    assert field_docstrings(Inner) == {"size": "How large, and no larger.", "other": "Not so silent."}


def test_a_section_without_a_docstring_is_described_by_its_model():
    schema = Outer.model_json_schema(schema_generator=DescribedSchema)
    assert schema["properties"]["plain"]["description"] == "What belongs together."
    assert schema["properties"]["described"]["description"] == "The second."
    assert schema["$defs"]["Inner"]["description"] == "What belongs together."
