"""A run's trace as points to draw: for each policy version the numbers of its step, by group.

The names are those of the record, `train/loss`, `time/wall_s`; x is the policy version.
"""

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import ConfigError

GROUPS: Mapping[str, tuple[str, ...]] = {
    "train": ("reward_mean", "reward_std", "loss", "grad_norm", "lr", "kl", "entropy", "clip_fraction"),
    "staleness": (
        "off_policy_steps_mean",
        "off_policy_steps_max",
        "in_flight_steps_mean",
        "in_queue_steps_mean",
        "queue_s_mean",
    ),
    "importance": (
        "ratio_mean",
        "ratio_max",
        "ratio_min",
        "ess",
        "logprob_gap_mean",
        "logprob_gap_max",
        "logprob_gap_p999",
        "corrected_fraction",
    ),
    "time": (
        "wall_s",
        "wait_s",
        "drain_s",
        "learn_s",
        "sync_s",
        "checkpoint_s",
        "other_s",
        "engine_idle_s",
    ),
    "rollouts": (
        "prompts",
        "completions",
        "prompt_tokens",
        "completion_tokens",
        "truncated_fraction",
        "filtered_groups",
        "evicted_groups",
        "aborted_groups",
        "failed_groups",
    ),
}
"""Which group each number of a `step` record is shown in."""
HELD_OUT = ("accuracy", "problems", "truncated_fraction", "completion_tokens", "wall_s")
"""The numbers of an `eval` record, shown as `held_out/…`."""

# Most lines are spans and groups: looked at no further.
_WANTED = re.compile(rb'"kind": ?"(?:step|eval|resumed|run_started)"')
_NAMES = {name: f"{group}/{name}" for group, names in GROUPS.items() for name in names}


@dataclass(frozen=True)
class Point:
    """What is drawn at one policy version, of its step or of its held-out evaluation."""

    step: int
    """The policy version: the number of optimizer steps done."""
    held_out: bool
    unix_s: float
    """When the record was written."""
    metrics: Mapping[str, float]

    @property
    def place(self) -> tuple[int, bool]:
        """Points come in this order: a version is evaluated after the step that made it."""
        return self.step, self.held_out


@dataclass(frozen=True)
class Rewind:
    """The run went on from a checkpoint: what came of later steps is superseded."""

    step: int
    """The policy version gone on from."""


class TracePoints:
    """Reads what was appended to a trace since the last look, whole lines only.

    Attributes:
        began_unix: when the run first began, in seconds since the epoch; None before.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._clock_zero: float | None = None
        self.began_unix: float | None = None

    def new(self) -> list[Point | Rewind]:
        """What is new since the last call, without points that it supersedes itself.

        Raises:
            ConfigError: the trace was replaced by a shorter one.
        """
        try:
            with self._path.open("rb") as file:
                if self._path.stat().st_size < self._offset:
                    raise ConfigError(f"{self._path} was replaced by another; start the mirror again")
                file.seek(self._offset)
                found: list[Point | Rewind] = []
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # still being written, or torn: whoever goes on with the run cuts it off
                    self._offset += len(line)
                    if _WANTED.search(line):
                        self._take(line, found)
                return found
        except FileNotFoundError:
            return []

    def _take(self, line: bytes, found: list[Point | Rewind]) -> None:
        """Add to `found` what a line says; a damaged one says nothing."""
        try:
            record: dict[str, Any] = json.loads(line)
            kind, t = record["kind"], float(record["t"])
            if kind == "run_started":
                self._clock_zero = float(record["unix_time"]) - t
                self.began_unix = self.began_unix or float(record["unix_time"])
            elif kind == "resumed":
                step = int(record["from_step"])
                found[:] = [item for item in found if isinstance(item, Rewind) or item.step <= step]
                found.append(Rewind(step))
            elif kind == "step":
                metrics = _numbers(record, _NAMES) | {"time/run_s": t}
                found.append(Point(int(record["policy_version"]), False, self._unix(t), metrics))
            elif kind == "eval":
                metrics = _numbers(record, {name: f"held_out/{name}" for name in HELD_OUT})
                found.append(Point(int(record["version"]), True, self._unix(t), metrics))
        except (ValueError, KeyError, TypeError):
            return  # the ingest puts such lines on record

    def _unix(self, t: float) -> float:
        """Seconds since the epoch at the run time `t` of the current attempt."""
        return time.time() if self._clock_zero is None else self._clock_zero + t


def _numbers(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, float]:
    """The record's finite numbers, renamed; what was not measured is left out."""
    return {
        name: float(value)
        for key, name in names.items()
        if isinstance(value := record.get(key), int | float) and math.isfinite(value)
    }
