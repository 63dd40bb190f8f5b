"""What every mirror does, and what it is told of the run it shows."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sweepctl.mirrors.points import Point
from sweepctl.spec.keys import flatten
from trainer.config import RunFile
from trainer.errors import SweepctlError
from trainer.records import RunState


class MirrorError(SweepctlError):
    """A mirror cannot go on. The run does."""


@dataclass(frozen=True)
class MirroredRun:
    """The run as a mirror announces it."""

    file: RunFile
    folder: Path
    """Where the mirror may write: `mirrors` in the run's folder."""
    identity: str
    """run_id and when the run first began: done again, here or elsewhere, a run is another to a mirror."""
    seen_before: bool
    """Whether an earlier mirror process has sent something of it."""

    @property
    def settings(self) -> dict[str, str | int | float | bool | None]:
        """The whole configuration by dotted key, lists as JSON, with what names the run."""
        flat = flatten(self.file.config.model_dump(mode="json"))
        flat |= {"sweep": self.file.sweep, "run_id": self.file.run_id, "profile": self.file.profile}
        return {key: json.dumps(value) if isinstance(value, list) else value for key, value in flat.items()}


class Mirror(Protocol):
    """Shows one run elsewhere. Used by one process, in the order open, log and rewind, close."""

    def open(self, run: MirroredRun) -> int | None:
        """Begin, or go on where an earlier mirror process ended.

        Returns:
            The last step that the other side holds, -1 for none, or None where it cannot say.

        Raises:
            MirrorError: it cannot begin, such as without a login.
        """
        ...

    def log(self, point: Point) -> None:
        """Send one point. Where it is not safe when this returns, `open` must be able to say so."""
        ...

    def rewind(self, step: int) -> bool:
        """Take back what was sent of later steps than `step`; False where what is sent stays."""
        ...

    def close(self, state: RunState) -> None:
        """Send what is left, and say how the run ended."""
        ...
