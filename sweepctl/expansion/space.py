"""The points of a sweep as row numbers into shared layers, and functions of them computed once for each case.

A hundred thousand points are a hundred thousand small tuples: which row of which block. Nothing is merged
for a single point unless somebody asks for it. What is to be known about all of them (a name, a verdict, a
match) depends on a few keys only, so `Space.each` computes it once for each combination of their values.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

from sweepctl.spec.keys import defaults
from sweepctl.spec.settings import Flat, Leaf, assign

Rows = tuple[int, ...]
"""A point: for each block of a space, the number of the row taken."""
T = TypeVar("T")


class Space:
    """Layers of settings: what all points share, one row of each block over it, and `--set` on top."""

    def __init__(self, base: Flat, layers: Sequence[Sequence[Sequence[Flat]]], overrides: Flat) -> None:
        """
        Args:
            base: what all points share.
            layers: blocks of rows, weakest layer first. The blocks of one layer do not weaken each other: a
                task that one of them sets drops nothing that another says.
            overrides: stronger than all.
        """
        self._base = base
        self._layers = layers
        self._blocks = [block for layer in layers for block in layer]
        self._overrides = overrides

    def settings(self, point: Rows) -> Flat:
        """All that is set at a point, merged; keys it does not hold have their default."""
        merged = dict(self._base)
        numbers = iter(point)
        for layer in self._layers:
            changes: Flat = {}
            for block in layer:
                changes.update(block[next(numbers)])
            assign(merged, changes)
        assign(merged, self._overrides)
        return merged

    def varied_keys(self) -> list[str]:
        """Keys that are not the same at all points, in the order of the blocks."""
        keys = dict.fromkeys(key for block in self._blocks for row in block for key in row)
        if "task.name" in keys:  # another task drops the settings of the one before
            shared = [key for key in (*self._base, *self._overrides) if key.startswith("task.")]
            keys.update(dict.fromkeys(shared))
        return list(keys)

    def all_keys(self) -> list[str]:
        """All keys that are set at some point."""
        return list(dict.fromkeys([*self._base, *self.varied_keys(), *self._overrides]))

    def each(self, points: Sequence[Rows], keys: Collection[str], compute: Callable[[Flat], T]) -> list[T]:
        """`compute` of every point's settings, called once for each combination of the values of `keys`.

        `compute` must depend on no other keys.
        """
        if not points:
            return []
        columns = list(self._columns(points, _with_those_they_follow(keys)))
        if not columns:
            return [compute(self.settings(points[0]))] * len(points)
        cases = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        first = dict(zip(reversed(cases), reversed(points), strict=True))
        results = {case: compute(self.settings(point)) for case, point in first.items()}
        return [results[case] for case in cases]

    def _columns(self, points: Sequence[Rows], keys: Collection[str]) -> Iterator[list[Any]]:
        """For each block that varies any of `keys`: which of its different rows each point takes."""
        for position, block in enumerate(self._blocks):
            cases: dict[Any, int] = {}
            case_of = [cases.setdefault(_case(row, keys), len(cases)) for row in block]
            if len(cases) > 1:
                yield [case_of[point[position]] for point in points]


def value_of(settings: Flat, key: str) -> Any:  # noqa: ANN401 - any value of a configuration
    """The value of a dotted key, its default where nothing sets it; P that is null is B."""
    leaf = settings.get(key)
    value = leaf.value if leaf is not None else defaults()[key]
    if key == "prompts_per_rollout_sync" and value is None:
        return value_of(settings, "prompts_per_optim_step")
    return value


def _with_those_they_follow(keys: Collection[str]) -> set[str]:
    """Keys, and the ones that decide what they are when nothing sets them."""
    known = set(keys)
    if "prompts_per_rollout_sync" in known:
        known.add("prompts_per_optim_step")
    if any(key.startswith("task.") for key in known):
        known.add("task.name")
    return known


def _case(row: Flat, keys: Collection[str]) -> tuple[object, ...]:
    """What tells rows apart as far as `keys` go: values, how they are written, and where."""
    return tuple((key, _written(row[key])) for key in keys if key in row)


def _written(leaf: Leaf) -> tuple[object, ...]:
    return (leaf.text, repr(leaf.value), leaf.place)
