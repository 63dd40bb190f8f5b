"""`sweepctl validate`: everything about a spec that can be known without starting anything."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweepctl.errors import Place, Problem, SpecError
from sweepctl.expansion.expand import Expansion, expand
from sweepctl.spec.file import ShapeError, SpecFile, load_spec
from sweepctl.spec.resolve import choose_profile, resolve, wrong_patterns, wrong_values
from trainer.errors import ConfigError


@dataclass(frozen=True)
class Validation:
    """The runs of each profile, or what is wrong."""

    name: str
    profiles: dict[str | None, Expansion]
    error: ConfigError | None

    def lines(self) -> list[str]:
        """A line for each profile, with every word that expansion had to say."""
        lines = []
        for profile, expansion in self.profiles.items():
            runs = sum(point.reason is None for point in expansion.points)
            infeasible = len(expansion.points) - runs
            skipped = f", {infeasible} infeasible" if infeasible else ""
            of = f" [{profile}]" if profile else ""
            lines += [f"{self.name}{of}: {runs} runs{skipped}"] + [f"  {note}" for note in expansion.notes]
        return lines

    def summary(self) -> dict[str, Any]:
        """The same as JSON; problems with file, line and message."""
        return {
            "valid": self.error is None,
            "name": self.name,
            "profiles": [
                {
                    "profile": profile,
                    "runs": [point.run_name for point in expansion.points if not point.reason],
                    "infeasible": [point.run_name for point in expansion.points if point.reason],
                    "notes": list(expansion.notes),
                }
                for profile, expansion in self.profiles.items()
            ],
            "problems": _problems(self.error),
        }


def validate_spec(path: Path, profile: str | None, overrides: Sequence[str]) -> Validation:
    """Check one profile or all; problems are gathered over them."""
    try:
        file = load_whole(path, profile, overrides)
        names = _profiles(file, profile)
    except ConfigError as error:
        return Validation(str(path), {}, error)
    expansions: dict[str | None, Expansion] = {}
    problems: list[Problem] = []
    for name in names:
        try:
            expansions[name] = expand(resolve(file, name, overrides))
        except SpecError as error:
            problems += error.problems
    return Validation(file.spec.name, expansions, SpecError(problems) if problems else None)


def load_whole(path: Path, profile: str | None, overrides: Sequence[str]) -> SpecFile:
    """Read a spec; where its shape is wrong, all else that is wrong with it is told, too.

    Args:
        path: of the spec.
        profile: the one that is meant, or `auto`; None for all.
        overrides: `key=value`, as `--set` takes them.

    Raises:
        ConfigError: if the file cannot be read.
        SpecError: with every problem that can be known.
    """
    try:
        return load_spec(path)
    except ShapeError as error:
        further = _further(error.rest, profile, overrides) if error.rest else []
        raise SpecError([*error.problems, *further]) from None


def _further(rest: SpecFile, profile: str | None, overrides: Sequence[str]) -> list[Problem]:
    """What else is wrong in a spec that has lost whole sections, as far as they do not matter for it."""
    try:
        names: list[str | None] = [None] if "profiles" in rest.dropped else _profiles(rest, profile)
    except ConfigError as error:
        return [Problem(Place(rest.source.file), str(error))]
    problems: list[Problem] = []
    for name in names:
        try:
            resolved = resolve(rest, name, overrides)
            problems += [*wrong_values(resolved), *wrong_patterns(resolved)]
        except SpecError as error:
            problems += error.problems
    return problems


def _profiles(file: SpecFile, requested: str | None) -> list[str | None]:
    if requested is not None:
        return [choose_profile(file.spec, requested)]
    return list(file.spec.profiles) or [None]


def _problems(error: ConfigError | None) -> list[dict[str, Any]]:
    if error is None:
        return []
    if not isinstance(error, SpecError):
        return [{"file": None, "line": None, "message": str(error)}]
    return [
        {"file": problem.place.file, "line": problem.place.line, "message": problem.message}
        for problem in error.problems
    ]
