"""How the machine is shared out: a slot runs one training at a time, beside a warm engine of its own.

On GPUs a slot has one device that engine and learner share, or two: the learner's, then the engine's. On CPU
a slot's cores are halved between engine and learner, so that neither slows the other.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sweepctl.machine import package_version, usable_cores, visible_gpus
from sweepctl.spec.model import ResourcesSpec
from trainer.config import Resources
from trainer.errors import ConfigError
from trainer.settings import WeightTransfer

Kind = Literal["gpu", "core"]


@dataclass(frozen=True)
class Slot:
    """Devices that one run at a time has to itself."""

    index: int
    kind: Kind
    devices: tuple[str, ...]
    """GPUs as CUDA_VISIBLE_DEVICES names them, or numbers of cores."""

    @property
    def name(self) -> str:
        """`gpu 0,1` or `cores 2,3`."""
        noun = "gpu" if self.kind == "gpu" else "core" if len(self.devices) == 1 else "cores"
        return f"{noun} {','.join(self.devices)}"

    @property
    def engine_cores(self) -> tuple[int, ...]:
        """Cores the engine is pinned to; a slot of one core has engine and learner take turns."""
        if self.kind == "gpu":
            return ()
        cores = tuple(map(int, self.devices))
        return cores[: max(1, len(cores) // 2)]

    @property
    def engine_device(self) -> str | None:
        """CUDA_VISIBLE_DEVICES of the engine."""
        return ",".join(self.devices[1:] or self.devices) if self.kind == "gpu" else None

    @property
    def weight_transfer(self) -> WeightTransfer:
        """How weights come from the learner to the engine: within a GPU, or from one to another."""
        if self.kind == "core":
            return "file"
        return "ipc" if len(self.devices) == 1 else "nccl"

    @property
    def learner_environment(self) -> dict[str, str]:
        """What the learner's process finds in its environment beside ours."""
        return {"CUDA_VISIBLE_DEVICES": self.devices[0]} if self.kind == "gpu" else {}

    @property
    def learner_resources(self) -> Resources:
        """Cores and torch device of the learner. It sees one GPU, which is then the first."""
        if self.kind == "gpu":
            return Resources(device="cuda:0", weight_transfer=self.weight_transfer)
        cores = tuple(map(int, self.devices))
        return Resources(cores=cores[len(cores) // 2 :], device="cpu")


def machine_kind() -> Kind:
    """Whether runs compute on GPUs here: there are some, and torch can use them."""
    return "gpu" if visible_gpus() and not package_version("torch").endswith("+cpu") else "core"


def machine_devices(kind: Kind) -> tuple[str, ...]:
    """Every device of a kind that processes started from here may use."""
    if kind == "core":
        return tuple(map(str, usable_cores()))
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed:
        return tuple(name.strip() for name in allowed.split(","))[: visible_gpus()]
    return tuple(map(str, range(visible_gpus())))


def parse_devices(text: str) -> tuple[str, ...]:
    """`0,2-4` as ("0", "2", "3", "4").

    Raises:
        ConfigError: it is no such list.
    """
    names: list[str] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise ConfigError(f"--devices {text}: expected numbers and ranges, such as 0,1 or 0-3")
        names += map(str, range(int(first), int(last or first) + 1))
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class Share:
    """What of this machine a sweep asks for."""

    kind: Kind
    devices: tuple[str, ...]
    at_least: int
    """It waits until so many are free."""
    concurrency: int | None
    """None: one run at a time on CPU, where runs side by side slow each other; one for every two GPUs."""

    def slots(self, leased: Sequence[str]) -> tuple[Slot, ...]:
        """Divide the devices that were free, neighbours together.

        Cores so that sizes differ by one at most; GPUs two to a slot or, where these do not suffice, one. The
        rest idles: an engine computes on one.
        """
        default = max(1, len(leased) // 2) if self.kind == "gpu" else 1
        count = self.concurrency or default
        size, larger = divmod(len(leased), count)
        if self.kind == "gpu":
            size, larger = min(size, 2), 0
        slots, start = [], 0
        for index in range(count):
            end = start + size + (index < larger)
            slots.append(Slot(index, self.kind, tuple(leased[start:end])))
            start = end
        return tuple(slots)


def choose_share(
    resources: ResourcesSpec, devices: str | None = None, concurrency: int | None = None
) -> Share:
    """What the spec asks for, or the command line instead.

    Raises:
        ConfigError: for devices that are not there, or more runs at once than devices.
    """
    kind = machine_kind()
    there = machine_devices(kind)
    if devices is not None:
        wanted = parse_devices(devices)
    else:
        chosen = there if resources.devices == "auto" else tuple(map(str, resources.devices))
        wanted = tuple(dict.fromkeys(chosen))
    if missing := [name for name in wanted if name not in there]:
        raise ConfigError(
            f"no {_noun(kind)} {', '.join(missing)} here; there is {', '.join(there)} "
            "(--devices, or resources.devices in the spec)"
        )
    if concurrency is None and resources.concurrency != "auto":
        concurrency = resources.concurrency
    if concurrency is not None and concurrency > len(wanted):
        raise ConfigError(
            f"{concurrency} runs at the same time need a {_noun(kind)} each, and there are {len(wanted)} to "
            f"use; lower -j (resources.concurrency) to {len(wanted)}"
        )
    named = devices is not None or resources.devices != "auto"
    return Share(kind, wanted, len(wanted) if named else concurrency or 1, concurrency)


def _noun(kind: Kind) -> str:
    return "GPU" if kind == "gpu" else "core"
