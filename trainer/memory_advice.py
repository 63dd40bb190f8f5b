"""What to do about a GPU that is too small: changes of which each, applied, makes the run fit. Torch-free."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, product

from trainer.config import RunConfig
from trainer.device_memory import GIB, Device, ModelShape, Split, least_engine_bytes, split
from trainer.errors import ConfigError
from trainer.settings import WeightTransfer

_SHARE = "engine.memory_utilization"
_RECOMPUTE = "learner.gradient_checkpointing"
_TOKENS = "learner.tokens_per_micro_batch"
_RANK = "lora.rank"
_SAME_RUN = (_SHARE, _RECOMPUTE, _TOKENS)
"""Keys that are not part of a run's identity."""
_FIRST_RANK = 16


@dataclass(frozen=True)
class Remedy:
    """Changes that together are enough.

    Attributes:
        changes: new values by dotted key.
        own_device: whether the engine needs a GPU of its own too.
    """

    changes: Mapping[str, int | float] = field(default_factory=dict)
    own_device: bool = False

    def applied(self, config: RunConfig) -> RunConfig:
        """The configuration with the changes."""
        for key, value in self.changes.items():
            section, leaf = key.split(".")
            changed = getattr(config, section).model_copy(update={leaf: value})
            config = config.model_copy(update={section: changed})
        return config

    def __str__(self) -> str:
        parts = [_said(key, value) for key, value in self.changes.items()]
        if self.own_device:
            parts.append("give the engine a GPU of its own (two to a run in the sweep's resources)")
        return " and ".join(parts)


def require_fit(
    shape: ModelShape, config: RunConfig, device: Device, way: WeightTransfer, name: str = "the GPU"
) -> Split:
    """How a run divides its learner's device.

    Args:
        shape: of the run's model.
        config: the run's configuration.
        device: the learner's.
        way: how weights reach the engine; `ipc`: it is on the same device.
        name: of the device, for people.

    Raises:
        ConfigError: it is too small; what needs how much, and what would help.
    """
    found = split(shape, config, device, way)
    if found.left >= 0:
        return found
    needed, there = (device.total_bytes - found.left) / GIB, device.total_bytes / GIB
    ways = [f"  - {remedy}" for remedy in remedies(shape, config, device, way)]
    if way == "ipc":
        who, least = "learner and engine need", least_engine_bytes(shape, config) / GIB
        note = f"\n({_SHARE}: the engine needs about {least:.1f} GiB, {least / there:.2f} of this GPU)"
    else:
        who, note = "the learner needs", ""
    advice = ["Do one of these:", *ways] if ways else ["Take a larger GPU or a smaller model"]
    said = f"{who} {needed:.1f} GiB on {name}, which has {there:.1f}; in GiB:"
    raise ConfigError("\n".join([said, found.table(), *advice]) + note)


def remedies(shape: ModelShape, config: RunConfig, device: Device, way: WeightTransfer) -> list[Remedy]:
    """Ways out, each of which is enough; none where no setting helps.

    Those of fewest changes come first, and those that leave the run what it is before adapters, which make
    it another.
    """
    found = _fewest_changes(shape, config, device, way)
    if way != "ipc":
        return found
    if split(shape, config, device, "nccl").left >= 0:
        return [*found, Remedy(own_device=True)]
    apart = _fewest_changes(shape, config, device, "nccl")
    return found or [Remedy(remedy.changes, own_device=True) for remedy in apart]


def _fewest_changes(
    shape: ModelShape, config: RunConfig, device: Device, way: WeightTransfer
) -> list[Remedy]:
    for further in ((), (_RANK,)):
        for count in range(len(_SAME_RUN) + 1):
            sets = [(*keys, *further) for keys in combinations(_SAME_RUN, count)]
            found = [_enough(shape, config, device, way, keys) for keys in sets]
            if any(found):
                return [remedy for remedy in found if remedy]
    return []


def _enough(
    shape: ModelShape, config: RunConfig, device: Device, way: WeightTransfer, keys: tuple[str, ...]
) -> Remedy | None:
    """The smallest changes of just these keys that are enough, if any are."""
    for changes in _changes(config, [key for key in keys if key != _SHARE]):
        remedy = Remedy(changes)
        if _SHARE in keys:
            share = _largest_share(shape, remedy.applied(config), device, way)
            if share is None:
                continue
            remedy = Remedy({**changes, _SHARE: share})
        if split(shape, remedy.applied(config), device, way).left >= 0:
            return remedy
    return None


def _changes(config: RunConfig, keys: list[str]) -> Iterator[dict[str, int | float]]:
    """All that these keys may be changed to, smallest changes first."""
    rank, wanted = config.lora.rank, config.learner.gradient_checkpointing
    tokens = min(config.learner.tokens_per_micro_batch, 2**24)
    values: dict[str, list[int]] = {
        _RECOMPUTE: [True] if wanted is False else [],
        _TOKENS: [*_halves(tokens, config.engine.max_model_len)],
        _RANK: [*_halves(rank, 1)] if rank else [_FIRST_RANK],
    }
    for chosen in product(*(values[key] for key in keys)):
        yield dict(zip(keys, chosen, strict=True))


def _halves(value: int, least: int) -> Iterator[int]:
    while value > least:
        value = max(least, value // 2)
        yield value


def _largest_share(shape: ModelShape, config: RunConfig, device: Device, way: WeightTransfer) -> float | None:
    """The largest share that leaves the learner enough, if it is one that the engine can live with."""
    if way != "ipc":
        return None
    now = split(shape, config, device, way)
    share = math.floor((now.engine + now.left) / device.total_bytes * 100) / 100
    if share >= config.engine.memory_utilization:
        return None
    return share if share * device.total_bytes >= least_engine_bytes(shape, config) else None


def _said(key: str, value: float) -> str:
    if key == _SHARE:
        return f"lower {key} to {value:.2f} at most"
    if key == _RECOMPUTE:
        return f"set {key}: true"
    if key == _TOKENS:
        return f"lower {key} to {value}"
    return f"train adapters with {key}: {value} (another run)"
