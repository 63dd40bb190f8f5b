"""From a resolved spec to its points: in order, named, each one validated or known to be infeasible.

Order: seeds outermost; within a seed the grid (zip entries, then parameters, the last varying fastest) or
what was drawn, and then the included points.
"""

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from sweepctl.errors import Place, Problem, SpecError
from sweepctl.expansion.checks import Verdict, value_problems, verdicts
from sweepctl.expansion.conditions import excluded, met, shown
from sweepctl.expansion.draw import Draws, draw
from sweepctl.expansion.files import file_problems
from sweepctl.expansion.identity import distinct, identities
from sweepctl.expansion.names import grid_template, include_template, name_problems
from sweepctl.expansion.points import Expansion, Point
from sweepctl.expansion.requirements import feasibility_problems, reference_problems, together_problems
from sweepctl.expansion.space import Rows, Space
from sweepctl.spec.resolve import Drawing, Pattern, Resolved, wrong_patterns
from sweepctl.spec.settings import Flat
from sweepctl.spec.values import MOST_VALUES

__all__ = ["Expansion", "Point", "expand"]


def expand(resolved: Resolved) -> Expansion:
    """All points of a sweep.

    What every point is by itself (its settings, its configuration) is lazy; see `Point`.

    Raises:
        SpecError: with every problem found.
    """
    return _Expander(resolved).expand()


@dataclass(frozen=True)
class _Arms:
    """Grid or draws: the rows of each axis, and the combinations of them that are wanted."""

    rows: tuple[tuple[Flat, ...], ...]
    combinations: Sequence[Rows]


class _Expander:
    def __init__(self, resolved: Resolved) -> None:
        self._resolved = resolved
        self._problems: list[Problem] = []
        self._unmatched: list[Pattern] = []
        self._excluding: set[Place] = set()
        """Patterns that took a draw out."""
        self._notes: list[str] = []
        seeds = [block for block in resolved.blocks if block.keys == ("seed",)]
        self._seeds: tuple[Flat, ...] = seeds[0].rows if seeds else ({},)
        self._axes = [block for block in resolved.blocks if block.keys != ("seed",)]

    def expand(self) -> Expansion:
        arms = self._drawn(self._resolved.drawing) if self._resolved.drawing else self._grid()
        space = self._space(arms.rows)
        grid = self._kept(space, self._crossed(arms))
        included = self._included(arms)
        points = self._conditioned(space, grid + included, self._unmatched)
        names = self._names(space, points, len(grid))
        # The grid of a seed, what is included with it, the grid of the next ...
        order = sorted(range(len(points)), key=lambda number: points[number][0])
        points, names = [points[number] for number in order], [names[number] for number in order]
        return self._checked(space, points, names)

    def _grid(self) -> _Arms:
        size = len(self._seeds) * math.prod(len(block.rows) for block in self._axes)
        if size > MOST_VALUES:
            raise SpecError(
                [
                    Problem(
                        Place(self._resolved.file, 1),
                        f"{size:,} points, more than {MOST_VALUES:,}; take values out, or draw some of them "
                        "with method: random and max_runs",
                    )
                ]
            )
        ranges = (range(len(block.rows)) for block in self._axes)
        return _Arms(tuple(block.rows for block in self._axes), list(itertools.product(*ranges)))

    def _drawn(self, drawing: Drawing) -> _Arms:
        draws = draw(self._axes, drawing, self._judge, self._notes)
        self._notes += [
            f"{pattern.place}: exclude matches no point that was drawn: {shown(pattern.settings)}"
            for pattern in self._resolved.exclude
            if pattern.place not in self._excluding
        ]
        if not draws.arms:
            self._problems.append(
                Problem(drawing.place, "no draw can be run: all are excluded or infeasible; widen the axes")
            )
        return _Arms(draws.rows, draws.arms)

    def _judge(self, draws: Draws) -> list[tuple[bool, Hashable]]:
        """Whether each draw can be run with some seed, and what it computes."""
        space = self._space(draws.rows)
        points = self._crossed(_Arms(draws.rows, draws.arms))
        if next(value_problems(space, points), None):
            return [(True, number) for number in range(len(draws.arms))]  # told once all is drawn
        unmatched: list[Pattern] = []
        out = excluded(space, points, self._resolved.exclude, unmatched)
        self._excluding |= {pattern.place for pattern in self._resolved.exclude if pattern not in unmatched}
        points = self._conditioned(space, points, [])
        skips = self._resolved.spec.infeasible == "skip"
        usable = [
            not (gone or (skips and verdict.reason))
            for gone, verdict in zip(out, verdicts(space, points, self._resolved.file), strict=True)
        ]
        size, known = len(draws.arms), identities(space, points)
        return [(any(usable[number::size]), tuple(known[number::size])) for number in range(size)]

    def _space(self, axes: Sequence[Sequence[Flat]]) -> Space:
        """Blocks: the seeds, the axes, what is included, and one for each condition.

        An included point takes no row of an axis, which is the empty one after its last; other points take
        none of what is included, and a condition that is not met sets nothing: the empty row before.
        """
        resolved = self._resolved
        included: list[Flat] = [{}, *(pattern.settings for pattern in resolved.include)]
        conditions: list[list[Flat]] = [[{}, condition.settings] for condition in resolved.when]
        of_the_point = [self._seeds, *((*rows, {}) for rows in axes), included]
        return Space(resolved.base, [of_the_point, conditions], resolved.overrides)

    def _crossed(self, arms: _Arms) -> list[Rows]:
        """Every arm with every seed, and with nothing included or set by a condition."""
        nothing = (0,) * (1 + len(self._resolved.when))
        return [(seed, *arm, *nothing) for seed in range(len(self._seeds)) for arm in arms.combinations]

    def _included(self, arms: _Arms) -> list[Rows]:
        no_axis = tuple(len(rows) for rows in arms.rows)
        unmet = (0,) * len(self._resolved.when)
        numbers = range(1, 1 + len(self._resolved.include))
        return [(seed, *no_axis, number, *unmet) for seed in range(len(self._seeds)) for number in numbers]

    def _kept(self, space: Space, points: list[Rows]) -> list[Rows]:
        """What is left of grid or draws once every excluded point is out."""
        resolved = self._resolved
        if not resolved.exclude:
            return points
        drawn = resolved.drawing is not None  # then `_drawn` says what matched nothing
        out = excluded(space, points, resolved.exclude, [] if drawn else self._unmatched)
        if points and all(out) and not resolved.include:
            self._problems.append(
                Problem(resolved.exclude[0].place, "exclude leaves no point at all; take some of it out")
            )
        return [point for point, gone in zip(points, out, strict=True) if not gone]

    def _conditioned(self, space: Space, points: list[Rows], unmatched: list[Pattern]) -> list[Rows]:
        conditions = self._resolved.when
        if not conditions:
            return points
        found = met(space, points, conditions, unmatched)
        return [point[: -len(conditions)] + flags for point, flags in zip(points, found, strict=True)]

    def _names(self, space: Space, points: Sequence[Rows], grid: int) -> list[str]:
        """The names of the grid's points, which come first, and of those included."""
        of_grid = grid_template(self._resolved, self._problems).names(space, points[:grid])
        if len(points) == grid:
            return of_grid
        return of_grid + include_template(self._resolved, self._problems).names(space, points[grid:])

    def _checked(self, space: Space, points: list[Rows], names: list[str]) -> Expansion:
        """The points that are left when all is well."""
        resolved = self._resolved
        found = verdicts(space, points, resolved.file)
        feasible = [point for point, verdict in zip(points, found, strict=True) if not verdict.reason]
        self._problems += value_problems(space, points)
        wrong = list(wrong_patterns(resolved))
        self._problems += wrong
        self._problems += together_problems(found, names)
        self._problems += file_problems(space, feasible, resolved.evaluation, resolved.file)
        self._say_unmatched({problem.place for problem in wrong})
        if self._problems:
            raise SpecError(self._problems)
        first = distinct(identities(space, points), names, self._notes)
        points, names = [points[number] for number in first], [names[number] for number in first]
        found = [found[number] for number in first]
        self._problems += name_problems(resolved, space, points, names)
        self._problems += reference_problems(resolved, space, points, names, found)
        self._problems += feasibility_problems(resolved, space, points, names, found)
        if self._problems:
            raise SpecError(self._problems)
        return Expansion(self._made(space, points, names, found), tuple(self._notes))

    def _say_unmatched(self, wrong: set[Place]) -> None:
        """A pattern that matches nothing is a slip in a grid; among draws it may be chance.

        Args:
            wrong: where a pattern asks for what no point can have, which is said already.
        """
        for pattern in self._unmatched:
            if any(leaf.place in wrong for leaf in pattern.settings.values()):
                continue
            which = "exclude" if pattern in self._resolved.exclude else "when"
            said = f"{which} matches no point: {shown(pattern.settings)}"
            if self._resolved.drawing is None:
                self._problems.append(Problem(pattern.place, f"{said}; correct it or take it out"))
            else:
                self._notes.append(f"{pattern.place}: {said}")

    def _made(
        self, space: Space, points: Sequence[Rows], names: Sequence[str], found: Sequence[Verdict]
    ) -> tuple[Point, ...]:
        spec, conditions = self._resolved.spec, self._resolved.when
        tags_of: dict[Rows, tuple[str, ...]] = {}
        made = []
        for point, name, verdict in zip(points, names, found, strict=True):
            flags = point[len(point) - len(conditions) :]
            if flags not in tags_of:
                given = [
                    tag for flag, when in zip(flags, conditions, strict=True) if flag for tag in when.tags
                ]
                tags_of[flags] = tuple(dict.fromkeys([*spec.tags, *given]))
            made.append(Point(name, verdict.reason, tags_of[flags], space, point))
        return tuple(made)
