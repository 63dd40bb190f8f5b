"""A spec file as YAML 1.2, remembering for every value its line and how it was written.

The node tree is read instead of plain data because a run's name prints `1e-6` as `1e-6`, which a
float has forgotten, and because every message names a line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sweepctl.errors import Place, Problem, SpecError, nearest, suggestion
from sweepctl.spec.keys import leaf_keys, section_keys
from sweepctl.spec.model import EvalSpec, Profile, ResourcesSpec, Retry, Spec, Timeout
from trainer.errors import ConfigError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """Parsed YAML with the place and the text of everything in it."""

    file: str
    data: Any
    lines: Mapping[KeyPath, int]
    texts: Mapping[KeyPath, str]

    def place(self, path: KeyPath) -> Place:
        """Where `path` was written, or the nearest thing around it that was."""
        while path and path not in self.lines:
            path = path[:-1]
        return Place(self.file, self.lines.get(path))


@dataclass(frozen=True)
class SpecFile:
    """A spec and the file it came from."""

    spec: Spec
    source: Source


def load_spec(path: Path) -> SpecFile:
    """Read a spec and check its shape.

    Raises:
        ConfigError: if the file cannot be read.
        SpecError: with every problem of shape, each at its line.
    """
    source = parse(_read(path), str(path))
    if not isinstance(source.data, dict):
        raise SpecError([Problem(Place(source.file, 1), "a spec is a map; it starts with `version: 1`")])
    try:
        return SpecFile(Spec.model_validate(source.data), source)
    except ValidationError as error:
        raise SpecError(_problem(source, details) for details in error.errors()) from None


def parse(text: str, file: str) -> Source:
    """Parse YAML 1.2.

    Raises:
        SpecError: on a syntax error, a key given twice, a key that is no text, or a loop of aliases.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise SpecError([Problem(Place(file, line), f"not valid YAML: {error.problem}")]) from None
    except YAMLError as error:
        raise SpecError([Problem(Place(file, 1), f"not valid YAML: {str(error).splitlines()[0]}")]) from None
    reader = _NodeReader(yaml, file)
    data = None if root is None else reader.read(root, (), root.start_mark.line + 1)
    reader.lines.setdefault((), 1)
    if reader.problems:
        raise SpecError(reader.problems)
    return Source(file, data, reader.lines, reader.texts)


class _NodeReader:
    """Turns YAML nodes into plain data, noting line and text of each."""

    def __init__(self, yaml: YAML, file: str) -> None:
        self._construct = yaml.constructor.construct_object
        self._file = file
        self._open: set[int] = set()
        self.lines: dict[KeyPath, int] = {}
        self.texts: dict[KeyPath, str] = {}
        self.problems: list[Problem] = []

    def read(self, node: Node, path: KeyPath, line: int) -> Any:  # noqa: ANN401 - raw YAML
        self.lines[path] = line
        if isinstance(node, ScalarNode):
            self.texts[path] = node.value
            return self._scalar(node, line)
        if id(node) in self._open:
            self._complain(line, "an alias that contains itself")
            return None
        self._open.add(id(node))
        value: Any = None
        if isinstance(node, MappingNode):
            value = self._map(node, path)
        elif isinstance(node, SequenceNode):
            value = self._list(node, path)
        self._open.remove(id(node))
        return value

    def _scalar(self, node: ScalarNode, line: int) -> Any:  # noqa: ANN401 - raw YAML
        try:
            return self._construct(node)
        except (YAMLError, ValueError) as error:
            self._complain(line, f"cannot read {node.value!r}: {str(error).splitlines()[0]}")
            return None

    def _map(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str):
                self._complain(line, "a key is a single word, found a list or a map")
                continue
            if key in result:
                self._complain(line, f"'{key}' is given twice; first on line {self.lines[*path, key]}")
                continue
            result[key] = self.read(value_node, (*path, key), line)
        return result

    def _list(self, node: SequenceNode, path: KeyPath) -> list[Any]:
        return [
            self.read(item, (*path, index), item.start_mark.line + 1) for index, item in enumerate(node.value)
        ]

    def _complain(self, line: int, message: str) -> None:
        self.problems.append(Problem(Place(self._file, line), message))


def show(value: Any) -> str:  # noqa: ANN401 - raw YAML
    """A value for a message: short, and on one line."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def explain(details: ErrorDetails, key: str) -> str:
    """What pydantic found, in one line: `key: should be greater than 0, found -1`."""
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if details["type"] == "string_pattern_mismatch":
        message = "should be letters, digits, '.', '_' and '-' only"
    for python, yaml in (("tuple", "list"), ("dictionary", "map"), ("string", "text")):
        message = message.replace(f"a valid {python}", f"a {yaml}")
    message = message[:1].lower() + message[1:]
    return f"{key}: {message}, found {show(details['input'])}" if key else message


def _problem(source: Source, details: ErrorDetails) -> Problem:
    """A shape error at its line. pydantic puts names of union members into paths; those are dropped."""
    path: KeyPath = ()
    for part in details["loc"]:
        if (*path, part) in source.lines:
            path = (*path, part)
    if details["type"] == "extra_forbidden":
        known = list(_fields_at(path[:-1]))
        key = str(path[-1])
        belongs_inside = nearest(key, known) is None and (key in leaf_keys() or key in section_keys())
        hint = "it belongs under 'base'" if belongs_inside else suggestion(key, known)
        message = f"unknown key '{key}'; {hint}"
    elif details["type"] == "missing":
        message = f"the key '{details['loc'][-1]}' is missing"
    else:
        message = explain(details, ".".join(str(part) for part in path))
    return Problem(source.place(path), message)


def _fields_at(path: KeyPath) -> Mapping[str, object]:
    """The keys that are known at a place of the spec."""
    submodels: dict[str | int, type[BaseModel]] = {
        "eval": EvalSpec,
        "timeout": Timeout,
        "retry": Retry,
        "resources": ResourcesSpec,
    }
    if len(path) == 2 and path[0] == "profiles":
        return Profile.model_fields
    return submodels[path[-1]].model_fields if path else Spec.model_fields


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
