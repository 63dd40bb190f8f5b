"""Points that compute the same are one run, however their values are written."""

import warnings
from collections.abc import Hashable, Sequence
from functools import cache, partial

from sweepctl.expansion.space import Rows, Space
from sweepctl.spec.keys import leaf_keys
from sweepctl.spec.leaf_checks import canonical
from sweepctl.spec.settings import Flat
from trainer.config import RunConfig

_BATCH = "prompts_per_optim_step"
_FOLLOWS: dict[str, tuple[str, ...]] = {
    "prompts_per_rollout_sync": (_BATCH,),
    "prompts_per_forward_backward": (_BATCH,),
    "max_inflight_groups": (_BATCH, "max_staleness"),
}
"""Keys whose default is computed from others, so that giving what it would be anyway changes nothing."""
_MOST_NOTES = 20


def identities(space: Space, points: Sequence[Rows]) -> list[Hashable]:
    """Something for each point that is equal for two of them exactly when their `RunConfig.run_id` is.

    Only the values of the keys that vary count: the rest is the same for all.
    """
    columns = [
        space.each(points, (key, *_FOLLOWS.get(key, ())), partial(_identity, key=key))
        for key in space.varied_keys()
        if _counts(key)
    ]
    return list(zip(*columns, strict=True)) if columns else [()] * len(points)


def differing(one: Flat, other: Flat) -> list[str]:
    """The keys by which two points are different runs."""
    return [key for key in leaf_keys() if _counts(key) and _identity(one, key) != _identity(other, key)]


def distinct(identities: Sequence[Hashable], names: Sequence[str], notes: list[str]) -> list[int]:
    """The numbers of the points that are the first of their kind; the others are noted."""
    first: dict[Hashable, int] = {}
    merged: list[str] = []
    for number, identity in enumerate(identities):
        kept = first.setdefault(identity, number)
        if kept != number:
            same = "given twice" if names[kept] == names[number] else f"the same as {names[kept]}"
            merged.append(f"{names[number]} is {same} and is run once")
    notes += merged[:_MOST_NOTES]
    if len(merged) > _MOST_NOTES:
        notes.append(f"so are {len(merged) - _MOST_NOTES:,} more")
    return list(first.values())


def _identity(settings: Flat, key: str) -> str:
    value = canonical(key, settings.get(key))
    if key not in _FOLLOWS or value == "null":
        return value
    default = int(canonical(_BATCH, settings.get(_BATCH)))
    if key == "max_inflight_groups":
        default *= int(canonical("max_staleness", settings.get("max_staleness"))) + 1
    return "null" if int(value) == default else value


@cache
def _counts(key: str) -> bool:
    """Whether a key is part of a run's identity: whether another value would make it another run."""
    config, (*sections, leaf) = RunConfig(), key.split(".")
    changed: dict[str, object] = {
        leaf: 7919
    }  # unlike any default; that a key may not hold it does not matter
    for section in sections:
        changed = {section: getattr(config, section).model_copy(update=changed)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return config.model_copy(update=changed).run_id() != config.run_id()
