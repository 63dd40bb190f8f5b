"""What an arm leaves beside its trace."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from benchmarks.gpu.lengths import Sampled

_FILE = "arm.json"


@dataclass(frozen=True)
class ArmRecord:
    """What the trace has no place for.

    Attributes:
        device: name of the learner's GPU; None on CPU.
        sampled: the completions of all groups that were finished.
    """

    device: str | None
    sampled: list[Sampled]

    def write(self, folder: Path) -> None:
        """Into an arm's folder."""
        (folder / _FILE).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From an arm's folder."""
        fields = json.loads((folder / _FILE).read_bytes())
        return cls(fields["device"], [Sampled(**completion) for completion in fields["sampled"]])
