"""A spec file: read, and checked for its shape."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sweepctl.errors import Place, Problem, SpecError, nearest, suggestion
from sweepctl.spec.keys import leaf_keys, section_keys
from sweepctl.spec.model import EvalSpec, Profile, ResourcesSpec, Retry, Spec, Timeout, When
from sweepctl.spec.source import KeyPath, Source, parse
from trainer.errors import ConfigError

_SECTIONS: Mapping[str, type[BaseModel]] = {
    "eval": EvalSpec,
    "timeout": Timeout,
    "retry": Retry,
    "resources": ResourcesSpec,
    "when": When,
}


_KINDS = {
    "a valid tuple": "a list",
    "a valid array": "a list",
    "a valid dictionary": "a map",
    "an object": "a map",
    "a valid string": "a text",
}
"""Pydantic's words, and YAML's."""


@dataclass(frozen=True)
class SpecFile:
    """A spec and the file it came from."""

    spec: Spec
    source: Source
    dropped: frozenset[str] = frozenset()
    """Sections left out, since something is wrong with their shape: what they say is not known."""


class ShapeError(SpecError):
    """A spec that is none.

    Attributes:
        rest: the spec without what is wrong with its shape; more may be wrong in it. None if nothing is left.
    """

    def __init__(self, problems: Iterable[Problem], rest: SpecFile | None) -> None:
        super().__init__(problems)
        self.rest = rest


def load_spec(path: Path) -> SpecFile:
    """Read a spec and check its shape.

    Raises:
        ConfigError: if the file cannot be read.
        SpecError: with every problem of shape, each at its line; a ShapeError if it is a map at all.
    """
    return checked(parse(_read(path), str(path)))


def checked(source: Source) -> SpecFile:
    """The spec that parsed YAML holds.

    Raises:
        SpecError: with every problem of shape, each at its line; a ShapeError if it is a map at all.
    """
    if not isinstance(source.data, dict):
        raise SpecError([Problem(Place(source.file, 1), "a spec is a map; it starts with `version: 1`")])
    try:
        return SpecFile(_validated(source.data), source)
    except ValidationError as error:
        wrong = _by_path(source, error.errors())
        problems = [Problem(source.place(path), _shape_message(path, found)) for path, found in wrong.items()]
        raise ShapeError(problems, _without(source, wrong)) from None


def show(value: Any) -> str:  # noqa: ANN401 - raw YAML
    """A value for a message: short, and on one line."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def explain(details: ErrorDetails, key: str) -> str:
    """What pydantic found, in one line: `key: should be greater than 0, found -1`."""
    return _with_value(_message(details), details, key)


def _message(details: ErrorDetails) -> str:
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input ").split(", unable to")[0]
    if details["type"] == "string_pattern_mismatch":
        message = "should be letters, digits, '.', '_' and '-' only"
    for theirs, yaml in _KINDS.items():
        message = message.replace(theirs, yaml)
    message = re.sub(r" or instance of \w+|^(String|Tuple) ", "", message)
    return message[:1].lower() + message[1:]


def _with_value(message: str, details: ErrorDetails, key: str) -> str:
    return f"{key}: {message}, found {show(details['input'])}" if key else message


def _by_path(source: Source, errors: Iterable[ErrorDetails]) -> dict[KeyPath, list[ErrorDetails]]:
    """Shape errors by where they are; what the members of a union say of one value belongs together."""
    at: dict[KeyPath, list[ErrorDetails]] = {}
    for details in errors:
        path: KeyPath = ()
        for part in details["loc"]:  # pydantic puts names of union members in between
            if (*path, part) in source.places:
                path = (*path, part)
        missing = (details["loc"][-1],) if details["type"] == "missing" else ()
        at.setdefault((*path, *missing), []).append(details)
    return at


def _validated(data: Mapping[str, Any]) -> Spec:
    """Strict, as JSON: a number in quotes is a mistake, a list is a fine tuple."""
    return Spec.model_validate_json(json.dumps(data, default=str), strict=True)


def _without(source: Source, wrong: Iterable[KeyPath]) -> SpecFile | None:
    """The spec without what is wrong. A section is left out whole, so that places stay true."""
    dropped = frozenset(str(path[0]) for path in wrong)
    kept = {key: value for key, value in source.data.items() if key not in dropped}
    data = {"version": 1, "name": "unnamed", **kept}
    try:
        return SpecFile(_validated(data), replace(source, data=data), dropped)
    except ValidationError:
        return None


def _shape_message(path: KeyPath, found: Sequence[ErrorDetails]) -> str:
    if found[0]["type"] == "extra_forbidden":
        known = _keys_at(path[:-1])
        key = str(path[-1])
        belongs_inside = nearest(key, known) is None and (key in leaf_keys() or key in section_keys())
        hint = "it belongs under 'base'" if belongs_inside else suggestion(key, known)
        return f"unknown key '{key}'; {hint}"
    if found[0]["type"] == "missing":
        return f"the key '{path[-1]}' is missing"
    first, *others = dict.fromkeys(_message(details) for details in found)
    message = " or ".join([first, *(other.removeprefix("should be ") for other in others)])
    return _with_value(message, found[0], ".".join(str(part) for part in path))


def _keys_at(path: KeyPath) -> list[str]:
    """The keys that are known at a place of the spec."""
    model: type[BaseModel] = Spec
    if path and path[0] == "profiles":
        model, path = Profile, path[2:]
    for part in path:
        if isinstance(part, str):
            model = _SECTIONS[part]
    return [field.alias or name for name, field in model.model_fields.items()]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        folder = path.parent if path.parent.is_dir() else Path("sweeps")
        there = sorted(str(file) for file in folder.glob("*.yaml"))
        raise ConfigError(f"{path}: no such file; {suggestion(str(path), there)}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}; give a YAML file") from None
