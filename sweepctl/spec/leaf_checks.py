"""What a key may hold, apart from all others: `RunConfig`'s types and bounds for one value at a time."""

import json
from dataclasses import replace
from functools import cache
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from sweepctl.errors import Problem
from sweepctl.spec.file import explain
from sweepctl.spec.keys import defaults, fields, is_list
from sweepctl.spec.settings import Leaf


def leaf_problems(key: str, leaf: Leaf) -> tuple[Problem, ...]:
    """Why a key cannot hold a value, at the value's line; nothing when it can."""
    try:
        _adapter(key).validate_json(_as_json(leaf.value), strict=True)
    except ValidationError as error:
        return tuple(Problem(leaf.place, explain(details, key)) for details in error.errors())
    return ()


def pattern_problems(key: str, leaf: Leaf, *, one_of: bool = False) -> tuple[Problem, ...]:
    """Why a key can never have the value that a pattern asks for.

    Args:
        key: dotted.
        leaf: what the pattern says.
        one_of: a list also means one of its values.
    """
    problems, values = leaf_problems(key, leaf), leaf.value
    if not (problems and one_of and isinstance(values, list)):
        return problems
    if is_list(key) and not all(isinstance(value, list) for value in values):
        return problems
    return tuple(found for value in values for found in leaf_problems(key, replace(leaf, value=value)))


def canonical(key: str, leaf: Leaf | None) -> str:
    """A value as the run's configuration holds it, in JSON: `1` and `1.0` are one learning rate.

    Args:
        key: dotted.
        leaf: a value that the key can hold; None for its default.
    """
    if leaf is None:
        return json.dumps(defaults()[key])
    adapter = _adapter(key)
    held = adapter.validate_json(_as_json(leaf.value), strict=True)
    return json.dumps(adapter.dump_python(held, mode="json"))


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    field = fields()[key]
    kind: Any = Annotated[field.annotation, field]
    return TypeAdapter(kind)


def _as_json(value: Any) -> str:  # noqa: ANN401 - raw YAML
    return json.dumps(value, default=str)
