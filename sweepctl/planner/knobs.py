"""A configuration with something changed, and the single changes that one could try next."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from trainer.config import RunConfig


@dataclass(frozen=True)
class Change:
    """One knob, turned by its smallest step.

    Attributes:
        config: with it, all else equal.
        key, before, after: which, from where to where.
        also: what goes with it, by key.
        learns_otherwise: whether it changes what a step learns from, beside when.
    """

    config: RunConfig
    key: str
    before: Any
    after: Any
    also: Mapping[str, Any] = field(default_factory=dict)
    learns_otherwise: bool = False


def changed(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig | None:
    """The configuration with other values of some keys, or None where they cannot be had together.

    Held-out evaluation comes with a sync: where that is less frequent, it waits for the next one.
    """
    values = {**config.model_dump(), **changes}
    batch = values["prompts_per_optim_step"]
    interval = (values["prompts_per_rollout_sync"] or batch) // batch
    every = config.held_out.every_steps
    if every is not None and interval:
        values["held_out"] |= {"every_steps": -(-every // interval) * interval}
    try:
        return RunConfig.model_validate(values)
    except ValidationError:
        return None


def single_changes(config: RunConfig) -> Iterator[Change]:
    """What one could turn, as far as the other settings allow it."""
    batch, per_sync, s = config.prompts_per_optim_step, config.sync_prompts, config.max_staleness
    found = [
        _change(config, "max_staleness", s, s + 1),
        *(
            _change(config, "prompts_per_rollout_sync", per_sync, more)
            for more in (per_sync + batch, per_sync - batch)
            if more > 0
        ),
        *(_other_batch(config, times) for times in (2.0, 0.5)),
        *(
            _change(config, "in_flight", config.in_flight, way)
            for way in ("wait", "abort", "keep")
            if way != config.in_flight
        ),
    ]
    if config.forward_backward_prompts == batch > 1:
        found.append(_change(config, "prompts_per_forward_backward", batch, 1))
    yield from (change for change in found if change is not None)


def _change(config: RunConfig, key: str, before: Any, after: Any) -> Change | None:  # noqa: ANN401
    other = changed(config, {key: after})
    return Change(other, key, before, after) if other is not None else None


def _other_batch(config: RunConfig, times: float) -> Change | None:
    """B and P together, so that a sync comes after as many steps as before."""
    before, per_sync = config.prompts_per_optim_step, config.sync_prompts
    after = int(before * times)
    also = {"prompts_per_rollout_sync": per_sync // before * after}
    other = changed(config, {"prompts_per_optim_step": after} | also) if after == before * times else None
    if other is None:
        return None
    return Change(other, "prompts_per_optim_step", before, after, also, learns_otherwise=True)
