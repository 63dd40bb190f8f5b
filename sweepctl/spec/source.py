"""YAML 1.2 that remembers for every value its place and how it was written.

The node tree is read instead of plain data because a run's name prints `1e-6` as `1e-6`, which a
float has forgotten, and because every message names a line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import MaxDepthExceededError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sweepctl.errors import Place, Problem, SpecError

KeyPath = tuple[str | int, ...]

_MAX_DEPTH = 100
_TOO_DEEP = f"lists and maps are nested more than {_MAX_DEPTH} deep"


@dataclass(frozen=True)
class Source:
    """Parsed YAML with the place and the text of everything in it."""

    file: str
    data: Any
    places: Mapping[KeyPath, Place]
    texts: Mapping[KeyPath, str]

    def place(self, path: KeyPath) -> Place:
        """Where `path` was written, or the nearest thing around it that was."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(self.file))


def parse(text: str, file: str) -> Source:
    """Parse YAML 1.2.

    Raises:
        SpecError: on a syntax error, a key given twice, a key that is no text, or a loop of aliases.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth = _MAX_DEPTH
    try:
        root = yaml.compose(text)
    except MaxDepthExceededError as error:
        raise SpecError([Problem(Place(file, error.problem_mark.line + 1), _TOO_DEEP)]) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise SpecError([Problem(Place(file, line), f"not valid YAML: {error.problem}")]) from None
    except YAMLError as error:
        raise SpecError([Problem(Place(file, 1), f"not valid YAML: {str(error).splitlines()[0]}")]) from None
    reader = _NodeReader(yaml, file)
    reader.places[()] = Place(file, 1)
    data = None if root is None else reader.read(root, (), root.start_mark.line + 1)
    if reader.problems:
        raise SpecError(reader.problems)
    return Source(file, data, reader.places, reader.texts)


class _NodeReader:
    """Turns YAML nodes into plain data, noting place and text of each."""

    def __init__(self, yaml: YAML, file: str) -> None:
        self._construct = yaml.constructor.construct_object
        self._file = file
        self._open: set[int] = set()
        self.places: dict[KeyPath, Place] = {}
        self.texts: dict[KeyPath, str] = {}
        self.problems: list[Problem] = []

    def read(self, node: Node, path: KeyPath, line: int) -> Any:  # noqa: ANN401 - raw YAML
        self.places[path] = Place(self._file, line)
        if isinstance(node, ScalarNode):
            self.texts[path] = node.value
            return self._scalar(node, line)
        if id(node) in self._open:
            self._complain(line, "an alias that contains itself")
            return None
        if len(self._open) >= _MAX_DEPTH:  # by aliases within aliases
            self._complain(line, _TOO_DEEP)
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
        if not self._is_unicode(node.value, line):
            return None
        try:
            value = self._construct(node)
            return value + 0.0 if isinstance(value, float) else value  # -0.0 is 0.0, and the same run
        except LookupError:  # `!!bool maybe`, `!!int ''`
            kind = str(node.tag).rpartition(":")[2]
            self._complain(line, f"cannot read {node.value!r} as {kind}")
        except (YAMLError, ValueError) as error:
            self._complain(line, f"cannot read {node.value!r}: {str(error).splitlines()[0]}")
        return None

    def _is_unicode(self, text: str, line: int) -> bool:
        try:
            text.encode()
        except UnicodeEncodeError:
            self._complain(line, f"cannot read {text!r}: it has half of a surrogate pair")
            return False
        return True

    def _map(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str):
                self._complain(line, "a key is a single word, found a list or a map")
                continue
            if not self._is_unicode(key, line):
                continue
            if key in result:
                self._complain(line, f"'{key}' is given twice; first on line {self.places[*path, key].line}")
                continue
            result[key] = self.read(value_node, (*path, key), line)
        return result

    def _list(self, node: SequenceNode, path: KeyPath) -> list[Any]:
        return [
            self.read(item, (*path, index), item.start_mark.line + 1) for index, item in enumerate(node.value)
        ]

    def _complain(self, line: int, message: str) -> None:
        self.problems.append(Problem(Place(self._file, line), message))
