"""Which points match: `exclude`, `when`, `reference`."""

from collections.abc import Sequence

from sweepctl.expansion.space import Rows, Space, value_of
from sweepctl.spec.resolve import Condition, Pattern
from sweepctl.spec.settings import Flat


def matching(space: Space, points: Sequence[Rows], pattern: Flat, *, one_of: bool = False) -> list[bool]:
    """For each point whether it equals the pattern on every key of it.

    Args:
        space: what the points choose from.
        points: the points.
        pattern: keys and values.
        one_of: a list in the pattern also means one of its values.
    """

    def matches(settings: Flat) -> bool:
        return all(_meets(value_of(settings, key), leaf.value, one_of) for key, leaf in pattern.items())

    return space.each(points, pattern.keys(), matches)


def shown(pattern: Flat) -> str:
    """A pattern for a message."""
    return ", ".join(
        f"{key} = {leaf.text if leaf.text is not None else leaf.value}" for key, leaf in pattern.items()
    )


def excluded(
    space: Space, points: Sequence[Rows], patterns: Sequence[Pattern], unmatched: list[Pattern]
) -> list[bool]:
    """For each point whether a pattern takes it out; a pattern that matches none is noted."""
    out = [False] * len(points)
    for pattern in patterns:
        found = matching(space, points, pattern.settings)
        if not any(found):
            unmatched.append(pattern)
        out = [before or now for before, now in zip(out, found, strict=True)]
    return out


def met(
    space: Space, points: Sequence[Rows], conditions: Sequence[Condition], unmatched: list[Pattern]
) -> list[Rows]:
    """For each point which conditions it meets, as 0 or 1; one that no point meets is noted.

    All conditions look at the point as it is before any of them sets something.
    """
    columns: list[list[int]] = []
    for condition in conditions:
        found = matching(space, points, condition.pattern.settings, one_of=True)
        if not any(found):
            unmatched.append(condition.pattern)
        columns.append([int(met) for met in found])
    return list(zip(*columns, strict=True)) if columns else [()] * len(points)


def _meets(value: object, wanted: object, one_of: bool) -> bool:
    if _equal(value, wanted):
        return True
    return one_of and isinstance(wanted, list) and any(_equal(value, each) for each in wanted)


def _equal(left: object, right: object) -> bool:
    return left == right and isinstance(left, bool) == isinstance(right, bool)  # True == 1 in Python
