"""From a spec file to what one sweep varies: a profile chosen, values merged, axes checked.

Precedence: base < profile.base < axis < include < when.set < --set. `base` and `eval` of a profile merge
deeply into the shared ones, lists replace; its `parameters`, `zip` and `seeds` replace the shared ones as a
whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sweepctl.errors import Place, Problem, SpecError, suggestion
from sweepctl.machine import visible_gpus
from sweepctl.spec.file import SpecFile
from sweepctl.spec.keys import overlap
from sweepctl.spec.leaf_checks import leaf_problems, pattern_problems
from sweepctl.spec.local_files import absolute
from sweepctl.spec.model import EvalSpec, Profile, Spec
from sweepctl.spec.overrides import Override, overridden, read_overrides, settings_of
from sweepctl.spec.settings import Flat, SettingsReader, assign
from sweepctl.spec.source import KeyPath
from sweepctl.spec.values import Axis, Distribution, read_axis
from trainer.errors import ConfigError

AUTO = "auto"


@dataclass(frozen=True)
class Block:
    """Axes that vary together. A lone axis is a block of one; every block is crossed with the others."""

    keys: tuple[str, ...]
    rows: tuple[Flat, ...]
    place: Place
    distribution: Distribution | None = None
    """What the rows are drawn from, where they are; there are none before."""


class Pattern(NamedTuple):
    """Keys and values that a point has or has not."""

    place: Place
    settings: Flat


@dataclass(frozen=True)
class Condition:
    """An entry of `when`: what is set, and which tags are given, where the pattern holds."""

    pattern: Pattern
    settings: Flat
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """`method: random`: so many points are drawn, with this seed."""

    max_runs: int
    seed: int
    place: Place


@dataclass(frozen=True)
class Resolved:
    """A spec for one profile: the values all runs share and the blocks that vary, outermost first."""

    spec: Spec
    file: str
    profile: str | None
    base: Flat
    blocks: tuple[Block, ...]
    seeds: tuple[int, ...]
    overrides: Flat
    drawing: Drawing | None
    """None for the whole grid."""
    exclude: tuple[Pattern, ...]
    include: tuple[Pattern, ...]
    when: tuple[Condition, ...]
    baseline: Flat | None
    """Keys a run's twin overrides; None is `synchronous`."""
    reference: tuple[Place, Flat] | None
    """The one run that all are compared with."""
    run_name: tuple[Place, str] | None
    evaluation: EvalSpec | None


def choose_profile(spec: Spec, requested: str) -> str | None:
    """The profile to use; `auto` takes the first whose `when` holds on this machine.

    Raises:
        ConfigError: for a name the spec does not have, or when no profile fits.
    """
    if requested != AUTO:
        if requested not in spec.profiles:
            hint = suggestion(requested, list(spec.profiles))
            raise ConfigError(f"{spec.name}: no profile '{requested}'; {hint}")
        return requested
    if not spec.profiles:
        return None
    for name, profile in spec.profiles.items():
        if profile.when is None or visible_gpus() > 0:
            return name
    names = ", ".join(spec.profiles)
    raise ConfigError(
        f"{spec.name}: no profile fits this machine, which has no NVIDIA GPU; choose one with "
        f"--profile (there is {names}), or add one without `when`"
    )


def resolve(file: SpecFile, profile: str | None, overrides: Sequence[str] = ()) -> Resolved:
    """Merge and check everything that does not depend on a single point.

    Raises:
        SpecError: with every problem found.
    """
    problems: list[Problem] = []
    given = read_overrides(overrides, problems)
    file = overridden(file, [override for override in given if override.of_the_spec], problems)
    of_the_runs = [override for override in given if not override.of_the_spec]
    return _Resolver(file, profile, of_the_runs, problems).resolve()


class _Resolver:
    def __init__(
        self, file: SpecFile, profile: str | None, given: Sequence[Override], problems: list[Problem]
    ) -> None:
        self._spec = file.spec
        self._source = file.source
        self._dropped = file.dropped
        self._name = profile
        self._profile = file.spec.profiles[profile] if profile else Profile()
        self._given = given
        self._problems = problems
        self._reader = SettingsReader(file.source, problems)

    def resolve(self) -> Resolved:
        base = self._reader.map_at(("base",))
        if self._name:
            assign(base, self._reader.map_at(("profiles", self._name, "base")))
        blocks = tuple(self._blocks())
        self._check_owners(blocks)
        resolved = Resolved(
            spec=self._spec,
            file=self._source.file,
            profile=self._name,
            base=base,
            blocks=blocks,
            seeds=self._seeds() or (),
            overrides=self._overrides(blocks),
            drawing=self._drawing(),
            exclude=tuple(self._pattern(("exclude", index)) for index in range(len(self._spec.exclude))),
            include=tuple(self._included(index) for index in range(len(self._spec.include))),
            when=tuple(self._condition(index) for index in range(len(self._spec.when))),
            baseline=None if self._spec.baseline == "synchronous" else self._reader.map_at(("baseline",)),
            reference=self._reference(),
            run_name=self._run_name(),
            evaluation=self._evaluation(),
        )
        if self._problems:
            # Whoever must correct the spec anyway wants to know about wrong values, too.
            raise SpecError([*self._problems, *wrong_values(resolved), *wrong_patterns(resolved)])
        return resolved

    def _place_of(self, key: str) -> KeyPath:
        """Where a key that a profile may replace comes from."""
        if getattr(self._profile, key) is not None:
            return ("profiles", str(self._name), key)
        return (key,)

    def _seeds(self) -> tuple[int, ...] | None:
        return self._profile.seeds if self._profile.seeds is not None else self._spec.seeds

    def _blocks(self) -> Iterator[Block]:
        """Seeds outermost, then the zip entries, then the parameters."""
        yield from self._seed_block()
        path = self._place_of("zip")
        entries = self._profile.zip if self._profile.zip is not None else self._spec.zip
        for index, axes in enumerate(entries):
            yield from self._zip_block(axes, (*path, index))
        path = self._place_of("parameters")
        parameters = (
            self._profile.parameters if self._profile.parameters is not None else self._spec.parameters
        )
        draws = self._spec.method == "random" or "method" in self._dropped
        for key, raw in parameters.items():
            undrawn = None if draws else "needs method: random and max_runs"
            if axis := self._axis(key, raw, (*path, key), undrawn):
                yield Block((key,), axis.rows, self._source.place((*path, key)), axis.distribution)

    def _seed_block(self) -> Iterator[Block]:
        seeds = self._seeds()
        if seeds is None:
            return
        path = self._place_of("seeds")
        if axis := read_axis(self._reader, "seed", list(seeds), path, undrawn=None):
            yield Block(("seed",), axis.rows, self._source.place(path))

    def _zip_block(self, axes: dict[str, Any], path: KeyPath) -> Iterator[Block]:
        undrawn = "an axis of a zip entry cannot be; put it under 'parameters'"
        read = {key: self._axis(key, raw, (*path, key), undrawn) for key, raw in axes.items()}
        columns = {key: axis.rows for key, axis in read.items() if axis}
        lengths = {key: len(rows) for key, rows in columns.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            self._reader.complain(
                self._source.place(path), f"axes of one zip entry differ in length: {found}"
            )
        elif columns and len(columns) == len(read):
            rows = tuple(_joined(row) for row in zip(*columns.values(), strict=True))
            yield Block(tuple(columns), rows, self._source.place(path))

    def _axis(self, key: str, raw: Any, path: KeyPath, undrawn: str | None) -> Axis | None:  # noqa: ANN401
        if key == "seed":
            self._reader.complain(
                self._source.place(path),
                "'seed' is no axis; 'seeds' repeats the whole sweep with each of a list",
            )
            return None
        return read_axis(self._reader, key, raw, path, undrawn=undrawn)

    def _drawing(self) -> Drawing | None:
        spec, place = self._spec, self._source.place
        if self._dropped & {"method", "max_runs", "seed"}:
            return None  # what they say of each other is not known
        if spec.method == "random":
            if spec.max_runs is None:
                self._reader.complain(place(("method",)), "method: random needs max_runs: how many to draw")
                return None
            return Drawing(spec.max_runs, spec.seed or 0, place(("max_runs",)))
        if spec.seed is not None:
            self._reader.complain(
                place(("seed",)),
                "'seed' is that of the drawing, and only for method: random; did you mean 'seeds'?",
            )
        if spec.max_runs is not None:
            self._reader.complain(
                place(("max_runs",)), "'max_runs' is only for method: random; --only chooses runs of a grid"
            )
        return None

    def _pattern(self, path: KeyPath) -> Pattern:
        return Pattern(self._source.place(path), self._reader.map_at(path))

    def _included(self, index: int) -> Pattern:
        included = self._pattern(("include", index))
        if "seed" in included.settings:
            self._reader.complain(
                included.settings["seed"].place,
                "an included point has no seed of its own: it is run with every one of 'seeds'; take it out",
            )
        return included

    def _condition(self, index: int) -> Condition:
        path: KeyPath = ("when", index)
        pattern = Pattern(self._source.place((*path, "if")), self._reader.map_at((*path, "if")))
        changes = self._reader.map_at((*path, "set"))
        tags = self._spec.when[index].tags
        if not self._spec.when[index].settings and not tags:
            self._reader.complain(
                self._source.place(path), "a 'when' sets nothing; give it 'set' or 'tags', or take it out"
            )
        if "seed" in changes:
            self._reader.complain(
                changes["seed"].place, "'seed' cannot be set by 'when'; 'seeds' says which there are"
            )
        return Condition(pattern, changes, tags)

    def _check_owners(self, blocks: tuple[Block, ...]) -> None:
        """No key may be owned by two axes: neither would then mean what it says."""
        owned = [(key, block.place) for block in blocks for key in block.keys]
        for index, (key, place) in enumerate(owned):
            for other, first in owned[:index]:
                if overlap(key, other):
                    whose = "an axis" if key == other else f"the axis '{other}'"
                    self._reader.complain(place, f"'{key}' is set by {whose} already, at {first}")

    def _overrides(self, blocks: tuple[Block, ...]) -> Flat:
        merged: Flat = {}
        for given in self._given:
            settings = settings_of(given, self._problems)
            for key, leaf in settings.items():
                owner = next((b for b in blocks if any(overlap(key, axis) for axis in b.keys)), None)
                if owner is not None:
                    self._reader.complain(
                        leaf.place, f"'{key}' is an axis of this sweep; change it at {owner.place}"
                    )
            assign(merged, settings)
        return merged

    def _reference(self) -> tuple[Place, Flat] | None:
        if self._spec.reference is None:
            return None
        return self._source.place(("reference",)), self._reader.map_at(("reference",))

    def _run_name(self) -> tuple[Place, str] | None:
        if self._spec.run_name is None:
            return None
        return self._source.place(("run_name",)), self._spec.run_name

    def _evaluation(self) -> EvalSpec | None:
        shared, own = self._spec.eval, self._profile.eval
        if shared is None or own is None:
            merged = shared or own
        else:
            merged = shared.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})
        if merged is None or merged.data is None:
            return merged
        data = absolute(merged.data, self._source.file)
        if not Path(data).is_file():
            path: KeyPath = ("eval", "data")
            if own is not None and "data" in own.model_fields_set:
                path = ("profiles", str(self._name), *path)
            self._reader.complain(
                self._source.place(path), f"eval.data: no file '{merged.data}'; give a JSONL file"
            )
        return merged.model_copy(update={"data": data})


def wrong_values(resolved: Resolved) -> Iterator[Problem]:
    """Every value of some layer that its key cannot hold, at its line; expansion tells those of points."""
    maps = [resolved.base, resolved.overrides]
    maps += [row for block in resolved.blocks for row in block.rows]
    maps += [included.settings for included in resolved.include]
    maps += [condition.settings for condition in resolved.when]
    for settings in maps:
        for key, leaf in settings.items():
            yield from leaf_problems(key, leaf)


def wrong_patterns(resolved: Resolved) -> Iterator[Problem]:
    """Every value that is compared with those of points, and that its key can never hold."""
    maps = [pattern.settings for pattern in resolved.exclude]
    maps += [resolved.baseline or {}, resolved.reference[1] if resolved.reference else {}]
    for pattern in maps:
        for key, leaf in pattern.items():
            yield from pattern_problems(key, leaf)
    for condition in resolved.when:
        for key, leaf in condition.pattern.settings.items():
            yield from pattern_problems(key, leaf, one_of=True)


def _joined(parts: Sequence[Flat]) -> Flat:
    joined: Flat = {}
    for part in parts:
        joined.update(part)
    return joined
