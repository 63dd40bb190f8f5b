"""Which run each point is: its identity, and the label people call it by."""

from collections.abc import Sequence
from typing import NamedTuple

from sweepctl.expansion.points import Point
from sweepctl.labels import of_seed
from trainer import fingerprint
from trainer.config import RunConfig


class Identified(NamedTuple):
    """A point and the run it stands for."""

    point: Point
    label: str | None
    """`Exp1`, `Exp2`, ... in order, with `-seed0` where there are several; an infeasible point has none."""
    run_id: str
    """Empty for an infeasible point."""
    inputs: dict[str, str]
    """Fingerprints of the local files that its configuration names, by dotted key."""


def identify(points: Sequence[Point], *, several_seeds: bool) -> tuple[list[Identified], list[str]]:
    """The points with their identities, and a note for each that is left out.

    That is one which trains on the same content as an earlier one, under another file's name.
    """
    prints: dict[tuple[str, str | None], dict[str, str]] = {}
    first: dict[str, str] = {}
    numbers: dict[str, int] = {}
    kept: list[Identified] = []
    notes: list[str] = []
    for point in points:
        config = point.config
        if config is None:
            kept.append(Identified(point, None, "", {}))
            continue
        files = (config.model, config.task.path)
        if files not in prints:
            prints[files] = fingerprint.inputs(config)  # may read gigabytes: once for all runs
        run_id = config.run_id(prints[files])
        same = first.setdefault(run_id, point.run_name)
        if same != point.run_name:
            notes.append(f"{point.run_name} trains on the same files as {same} and is run once")
            continue
        arm = _arm(config, prints[files]) if several_seeds else run_id
        label = f"Exp{numbers.setdefault(arm, len(numbers) + 1)}"
        kept.append(
            Identified(point, of_seed(label, config.seed) if several_seeds else label, run_id, prints[files])
        )
    return kept, notes


def _arm(config: RunConfig, inputs: dict[str, str]) -> str:
    """What runs that differ only by seed have in common."""
    return config.model_copy(update={"seed": 0}).run_id(inputs)
