"""`--set key=value`: a key of every run, or one of the spec's own.

A key of the runs becomes a setting that is stronger than all others. A key of the spec is written into the
parsed file before its shape is checked, so that the same checks and the same words apply.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from sweepctl.errors import Place, Problem, SpecError
from sweepctl.spec.file import SpecFile, checked
from sweepctl.spec.keys import leaf_keys
from sweepctl.spec.model import Spec
from sweepctl.spec.settings import Flat, SettingsReader
from sweepctl.spec.source import KeyPath, Source, parse

_IN_THE_FILE_ONLY = frozenset({"version", "name", "base", "parameters", "zip", "profiles"})


@dataclass(frozen=True)
class Override:
    """One `--set`, its value read as YAML."""

    key: str
    source: Source

    @property
    def place(self) -> Place:
        """How a message names it."""
        return Place(self.source.file)

    @property
    def of_the_spec(self) -> bool:
        """Whether it is one of the spec's own keys. `seed` is not: it is every run's."""
        first = self.key.partition(".")[0]
        return first in Spec.model_fields and first not in leaf_keys()


def read_overrides(given: Sequence[str], problems: list[Problem]) -> list[Override]:
    """Each `--set key=value`; what cannot be read is noted as a problem."""
    overrides = []
    for text in given:
        place = Place(f"--set {text}")
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            problems.append(Problem(place, "expected key=value, such as --set max_steps=10"))
            continue
        try:
            source = parse(value, place.file)
        except SpecError as error:
            problems += [Problem(place, problem.message) for problem in error.problems]
            continue
        nowhere = dict.fromkeys(source.places, place)  # the command line has no lines
        overrides.append(Override(key.strip(), replace(source, places=nowhere)))
    return overrides


def settings_of(override: Override, problems: list[Problem]) -> Flat:
    """What an override sets in every run."""
    return SettingsReader(override.source, problems).value(override.key, override.source.data, ())


def overridden(file: SpecFile, overrides: Sequence[Override], problems: list[Problem]) -> SpecFile:
    """The spec with its own keys replaced; maps merge, and what a profile says of the same key gives way.

    Raises:
        SpecError: when that is no spec any more, at the `--set` that says so.
    """
    source = replace(
        file.source,
        data=deepcopy(file.source.data),
        places=dict(file.source.places),
        texts=dict(file.source.texts),
    )
    for override in overrides:
        section, _, dotted = override.key.partition(".")
        if section in _IN_THE_FILE_ONLY:
            problems.append(Problem(override.place, f"'{section}' can only be changed in {source.file}"))
        else:
            source = _graft(source, section, dotted, override.source, ())
    return checked(source) if overrides else file


def _graft(source: Source, section: str, dotted: str, given: Source, inner: KeyPath) -> Source:
    """`source` with what `given` holds at `inner` in the place of what it had at a key of a section.

    Args:
        source: the spec.
        section: a key of the spec.
        dotted: a key inside it, which the spec may have nested or dotted; empty for the section itself.
        given: the value of a `--set`.
        inner: a place in that value.
    """
    value: Any = given.data
    for part in inner:
        value = value[part]
    if isinstance(value, dict) and (value or isinstance(source.data.get(section), dict)):
        for key in value:
            source = _graft(source, section, f"{dotted}.{key}" if dotted else key, given, (*inner, key))
        return source
    _put(source.data, section, dotted, value)
    for profile in (source.data.get("profiles") or {}).values():
        if isinstance(value, dict):
            continue  # an empty map: it merges, too
        if not dotted:
            profile.pop(section, None)
        elif isinstance(profile.get(section), dict):
            _remove(profile[section], dotted)
    path: KeyPath = (section, dotted) if dotted else (section,)
    size, depth = len(path), len(inner)
    places = {key: place for key, place in source.places.items() if key[:size] != path}
    texts = {key: text for key, text in source.texts.items() if key[:size] != path}
    places.update({(*path, *key[depth:]): at for key, at in given.places.items() if key[:depth] == inner})
    texts.update({(*path, *key[depth:]): text for key, text in given.texts.items() if key[:depth] == inner})
    places.setdefault((section,), given.place(()))
    return replace(source, places=places, texts=texts)


def _put(data: dict[str, Any], section: str, dotted: str, value: Any) -> None:  # noqa: ANN401 - raw YAML
    if not dotted:
        data[section] = value
        return
    if not isinstance(data.get(section), dict):
        data[section] = {}
    _remove(data[section], dotted)
    data[section][dotted] = value


def _remove(tree: dict[str, Any], dotted: str) -> None:
    """Take out what a map says of a key, however it nests it. `task: gsm8k` says `task.name`."""
    for key, value in list(tree.items()):
        short = key == "task" and not isinstance(value, dict)
        if f"{'task.name' if short else key}.".startswith(f"{dotted}."):
            del tree[key]
        elif isinstance(value, dict) and dotted.startswith(f"{key}."):
            _remove(value, dotted.removeprefix(f"{key}."))
