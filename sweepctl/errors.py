"""Problems in a spec, each with its place, so that several can be told at once."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trainer.errors import ConfigError, SweepctlError


@dataclass(frozen=True, order=True)
class Place:
    """Where something was written: a file and a line, or the command line."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a spec."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class SpecError(ConfigError):
    """Everything wrong with a spec, in the order of its lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        distinct = dict.fromkeys(problems)
        self.problems = sorted(distinct, key=lambda problem: (problem.place.file, problem.place.line or 0))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SweepLockedError(SweepctlError):
    """Another sweepctl is running this sweep."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name closest to `word`; a dotted name is also found by its last part."""
    names = list(known)
    by_last_part = {name.rpartition(".")[2]: name for name in names}
    if word not in names and word in by_last_part:
        return by_last_part[word]
    for candidates, name_of in ((names, None), (list(by_last_part), by_last_part)):
        found = difflib.get_close_matches(word.rpartition(".")[2] if name_of else word, candidates, n=1)
        if found:
            return name_of[found[0]] if name_of else found[0]
    return None


def suggestion(word: str, known: Sequence[str]) -> str:
    """`did you mean 'x'?`, or the names there are when none is close."""
    if close := nearest(word, known):
        return f"did you mean '{close}'?"
    return f"known: {', '.join(known)}" if known else "none is known"
