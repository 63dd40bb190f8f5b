"""`method: random`: points drawn from the axes instead of their whole grid.

Each draw takes a row of every zip entry and a value of every parameter, independently, in the order of the
spec, from one generator. What a larger `max_runs` draws therefore starts with what a smaller one drew.
"""

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sweepctl.expansion.space import Rows
from sweepctl.spec.resolve import Block, Drawing
from sweepctl.spec.settings import Flat

_DRAWS_PER_RUN = 100


@dataclass(frozen=True)
class Draws:
    """The axes with what was drawn as their rows, and each draw as row numbers."""

    rows: tuple[tuple[Flat, ...], ...]
    arms: tuple[Rows, ...]


Judge = Callable[[Draws], list[tuple[bool, Hashable]]]
"""For each draw whether it can be run with some seed, and what it is equal by to another draw."""


def draw(axes: Sequence[Block], drawing: Drawing, judge: Judge, notes: list[str]) -> Draws:
    """`max_runs` different draws that can be run; fewer, with a note, where they are hard to find.

    Draws that are excluded, infeasible or the same as an earlier one are drawn again, up to a hundred times
    `max_runs` in all.
    """
    stream = _stream(axes, random.Random(drawing.seed))
    left = _DRAWS_PER_RUN * drawing.max_runs
    seen: set[Hashable] = set()
    kept: list[tuple[Flat, ...]] = []
    while left and len(kept) < drawing.max_runs:
        missing = drawing.max_runs - len(kept)
        batch = list(islice(stream, min(left, max(64, 4 * missing if kept else missing))))
        left -= len(batch)
        for rows, (usable, identity) in zip(batch, judge(_gathered(axes, batch)), strict=True):
            if usable and identity not in seen and len(kept) < drawing.max_runs:
                seen.add(identity)
                kept.append(rows)
    if len(kept) < drawing.max_runs:
        notes.append(
            f"max_runs is {drawing.max_runs:,}, but {_DRAWS_PER_RUN * drawing.max_runs:,} draws found only "
            f"{len(kept):,} different points that can be run"
        )
    return _gathered(axes, kept)


def _stream(axes: Sequence[Block], rng: random.Random) -> Iterator[tuple[Flat, ...]]:
    while True:
        yield tuple(
            block.distribution.draw(rng) if block.distribution else block.rows[rng.randrange(len(block.rows))]
            for block in axes
        )


def _gathered(axes: Sequence[Block], draws: Sequence[tuple[Flat, ...]]) -> Draws:
    """Draws as row numbers. All rows of an axis stay, so that every batch varies the same keys."""
    rows: list[tuple[Flat, ...]] = []
    numbers: list[list[int]] = []
    for index, block in enumerate(axes):
        column = [draw[index] for draw in draws]
        known = {id(row): row for row in (*block.rows, *column)}
        number = {key: position for position, key in enumerate(known)}
        rows.append(tuple(known.values()))
        numbers.append([number[id(row)] for row in column])
    return Draws(tuple(rows), tuple(zip(*numbers, strict=True)) if axes else ((),) * len(draws))
