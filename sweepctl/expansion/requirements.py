"""What must hold for the points of a sweep together."""

from collections.abc import Iterator, Sequence
from itertools import compress

from sweepctl.errors import Place, Problem
from sweepctl.expansion.checks import Verdict
from sweepctl.expansion.conditions import matching, shown
from sweepctl.expansion.space import Rows, Space, value_of
from sweepctl.spec.resolve import Resolved

_MOST_NAMED = 3
_MOST_LISTED = 10


def together_problems(found: Sequence[Verdict], names: Sequence[str]) -> Iterator[Problem]:
    """Values that contradict each other: each contradiction once, with the runs that it concerns."""
    concerned: dict[Problem, list[str]] = {}
    for verdict, name in zip(found, names, strict=True):
        for problem in verdict.problems:
            concerned.setdefault(problem, []).append(name)
    runs = sum(verdict.reason is None for verdict in found)
    for problem, of_these in concerned.items():
        yield Problem(problem.place, problem.message + (_which(of_these, runs) if len(names) > 1 else ""))


def reference_problems(
    resolved: Resolved,
    space: Space,
    points: Sequence[Rows],
    names: Sequence[str],
    found: Sequence[Verdict],
) -> Iterator[Problem]:
    """The reference is one run: one for each seed, and feasible."""
    if resolved.reference is None:
        return
    place, pattern = resolved.reference
    matched = matching(space, points, pattern)
    matches = [here and verdict.reason is None for here, verdict in zip(matched, found, strict=True)]
    seeds = space.each(
        list(compress(points, matches)), ("seed",), lambda settings: value_of(settings, "seed")
    )
    if not seeds:
        yield Problem(place, f"reference matches no run: {shown(pattern)}; {_why(matched, names, found)}")
    elif len(set(seeds)) < len(seeds):
        which = _listed(list(compress(names, matches)))
        yield Problem(place, f"reference must match one run, and matches {which}; add a key")


def feasibility_problems(
    resolved: Resolved,
    space: Space,
    points: Sequence[Rows],
    names: Sequence[str],
    found: Sequence[Verdict],
) -> Iterator[Problem]:
    """Something must be left to run; all of it, where the spec says `infeasible: error`."""
    refused = [number for number, verdict in enumerate(found) if verdict.reason]
    if not refused or (resolved.spec.infeasible == "skip" and len(refused) < len(points)):
        return
    what = "every point is infeasible" if len(refused) == len(points) else "infeasible points"
    advice = "raise max_staleness, or lower prompts_per_rollout_sync"
    listed = "".join(f"\n    {names[number]}: {found[number].reason}" for number in refused[:_MOST_LISTED])
    if len(refused) > _MOST_LISTED:
        listed += f"\n    and {len(refused) - _MOST_LISTED:,} more"
    leaf = space.settings(points[refused[0]]).get("prompts_per_rollout_sync")
    yield Problem(leaf.place if leaf else Place(resolved.file, 1), f"{what}; {advice}{listed}")


def _why(matched: Sequence[bool], names: Sequence[str], found: Sequence[Verdict]) -> str:
    number = next((number for number, here in enumerate(matched) if here), None)
    if number is None:
        return "correct it"
    return f"{names[number]} is infeasible: {found[number].reason}; choose another"


def _which(names: Sequence[str], runs: int) -> str:
    if len(names) == runs:
        return " (all runs)"
    return f" (run {names[0]})" if len(names) == 1 else f" (runs {_listed(names)})"


def _listed(names: Sequence[str]) -> str:
    named, more = ", ".join(names[:_MOST_NAMED]), len(names) - _MOST_NAMED
    return f"{named} and {more:,} more" if more > 0 else named
