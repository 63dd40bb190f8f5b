"""From a spec file to what one sweep varies: a profile chosen, values merged, axes checked.

Precedence: base < profile.base < axis < --set. `base` and `eval` of a profile merge deeply into the
shared ones, lists replace; its `parameters`, `zip` and `seeds` replace the shared ones as a whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl.errors import Place, Problem, SpecError, suggestion
from sweepctl.machine import visible_gpus
from sweepctl.spec.file import KeyPath, SpecFile
from sweepctl.spec.keys import overlap
from sweepctl.spec.model import EvalSpec, Profile, Spec
from sweepctl.spec.settings import Flat, SettingsReader, assign, parse_override
from trainer.errors import ConfigError

AUTO = "auto"


@dataclass(frozen=True)
class Block:
    """Axes that vary together. A lone axis is a block of one; every block is crossed with the others."""

    keys: tuple[str, ...]
    rows: tuple[Flat, ...]
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
    exclude: tuple[tuple[Place, Flat], ...]
    baseline: Flat | None
    """Keys a run's twin overrides; None is `synchronous`."""
    reference: tuple[Place, Flat] | None
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
    return _Resolver(file, profile, overrides).resolve()


class _Resolver:
    def __init__(self, file: SpecFile, profile: str | None, overrides: Sequence[str]) -> None:
        self._spec = file.spec
        self._source = file.source
        self._name = profile
        self._profile = file.spec.profiles[profile] if profile else Profile()
        self._given = overrides
        self._problems: list[Problem] = []
        self._reader = SettingsReader(file.source, self._problems)

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
            exclude=tuple(
                (self._source.place(("exclude", i)), self._reader.map_at(("exclude", i)))
                for i in range(len(self._spec.exclude))
            ),
            baseline=None if self._spec.baseline == "synchronous" else self._reader.map_at(("baseline",)),
            reference=self._reference(),
            run_name=self._run_name(),
            evaluation=self._evaluation(),
        )
        if self._problems:
            raise SpecError(self._problems)
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
        for key, values in parameters.items():
            if rows := self._axis(key, values, (*path, key)):
                yield Block((key,), rows, self._source.place((*path, key)))

    def _seed_block(self) -> Iterator[Block]:
        seeds = self._seeds()
        if seeds is None:
            return
        path = self._place_of("seeds")
        if rows := self._axis("seed", seeds, path):
            yield Block(("seed",), rows, self._source.place(path))

    def _zip_block(self, axes: dict[str, tuple[Any, ...]], path: KeyPath) -> Iterator[Block]:
        columns = {key: self._axis(key, values, (*path, key)) for key, values in axes.items()}
        lengths = {key: len(values) for key, values in axes.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            self._reader.complain(
                self._source.place(path), f"axes of one zip entry differ in length: {found}"
            )
        elif columns and all(columns.values()):
            rows = tuple(_joined(row) for row in zip(*columns.values(), strict=True))
            yield Block(tuple(columns), rows, self._source.place(path))

    def _axis(self, key: str, values: tuple[Any, ...], path: KeyPath) -> tuple[Flat, ...]:
        """The settings of each value of an axis; empty when something is wrong with it."""
        place = self._source.place(path)
        if not self._reader.key_is_known(key, place):
            return ()
        if not values:
            self._reader.complain(place, f"the axis '{key}' has no values; give a list of at least one")
        return tuple(self._reader.value(key, value, (*path, i)) for i, value in enumerate(values))

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
            settings = parse_override(given, self._problems)
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
        if merged is not None and merged.data is not None and not Path(merged.data).is_file():
            path: KeyPath = ("eval", "data")
            if own is not None and "data" in own.model_fields_set:
                path = ("profiles", str(self._name), *path)
            self._reader.complain(
                self._source.place(path), f"eval.data: no file '{merged.data}'; give a JSONL file"
            )
        return merged


def _joined(parts: Sequence[Flat]) -> Flat:
    joined: Flat = {}
    for part in parts:
        joined.update(part)
    return joined
