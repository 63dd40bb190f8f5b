"""Values of configuration keys, each with its text and its place.

Settings are kept flat, `{"optim.lr": Leaf(...)}`: merging deeply is then writing key by key, and every
message about a value can name the line it came from.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweepctl.errors import Place, Problem, suggestion
from sweepctl.spec.file import show
from sweepctl.spec.keys import defaults, leaf_keys, section_keys
from sweepctl.spec.local_files import PATH_KEYS, absolute
from sweepctl.spec.source import KeyPath, Source


@dataclass(frozen=True)
class Leaf:
    """A value, how it was written, and where."""

    value: Any
    text: str
    place: Place


Flat = dict[str, Leaf]


def assign(settings: Flat, changes: Mapping[str, Leaf]) -> None:
    """Write a stronger layer over weaker ones. Another task drops what they say of the task before."""
    before, after = settings.get("task.name"), changes.get("task.name")
    if after and after.value != (before.value if before else defaults()["task.name"]):
        for key in [key for key in settings if key.startswith("task.")]:
            del settings[key]
    settings.update(changes)


class SettingsReader:
    """Reads maps of settings from a spec, collecting what is wrong with them."""

    def __init__(self, source: Source, problems: list[Problem]) -> None:
        self._source = source
        self._problems = problems

    def map_at(self, path: KeyPath) -> Flat:
        """The map at `path` of the spec, flattened; empty where there is none."""
        node: Any = self._source.data
        for part in path:
            node = node.get(part) if isinstance(node, dict) else node[part]
            if node is None:
                return {}
        flat: Flat = {}
        for key, leaf in self._leaves("", node, path):
            if key in flat:
                self.complain(leaf.place, f"'{key}' is given twice; first at {flat[key].place}")
            else:
                flat[key] = leaf
        return flat

    def value(self, key: str, value: Any, path: KeyPath) -> Flat:  # noqa: ANN401 - raw YAML
        """What giving `value` to `key` sets: one key, or those of a section."""
        return dict(self._leaves(key, value, path))

    def key_is_known(self, key: str, place: Place) -> bool:
        """Whether a key can be set; otherwise a problem is noted."""
        if key in leaf_keys() or key == "task":
            return True
        if key in section_keys():
            inside = ", ".join(leaf for leaf in leaf_keys() if leaf.startswith(key + "."))
            self.complain(place, f"'{key}' is a section; give one of {inside}")
        else:
            self.complain(place, f"unknown key '{key}'; {suggestion(key, [*leaf_keys(), *section_keys()])}")
        return False

    def problem_count(self) -> int:
        """How many problems were noted so far: whether reading something added any."""
        return len(self._problems)

    def place(self, path: KeyPath) -> Place:
        """Where `path` was written."""
        return self._source.place(path)

    def complain(self, place: Place, message: str) -> None:
        """Note a problem and go on, so that all of them are told at once."""
        self._problems.append(Problem(place, message))

    def _leaves(self, key: str, value: Any, path: KeyPath) -> Iterator[tuple[str, Leaf]]:  # noqa: ANN401
        if isinstance(value, dict) and (not key or key in section_keys()):
            prefix = key + "." if key else ""
            for name, inner in value.items():
                yield from self._leaves(prefix + name, inner, (*path, name))
            return
        place = self._source.place(path)
        if key in section_keys() and key != "task":
            self.complain(place, f"'{key}' is a section: a map is expected, found {show(value)}")
        elif self.key_is_known(key, place):
            text = self._source.texts.get(path, str(value))
            if key in PATH_KEYS and isinstance(value, str):
                value = absolute(value, self._source.file)
            yield "task.name" if key == "task" else key, Leaf(value, text, place)
