"""`attempts.jsonl` of a run: when each attempt began and how it ended, as sweepctl saw it.

The durable memory behind retries: how often a run has failed in a row survives any restart. It also says
which code and which environment a finished run came from.
"""

import json
import time
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import ValidationError

from trainer.append import AppendFile
from trainer.paths import RunPaths
from trainer.records import RunState
from trainer.settings import Settings


class AttemptRecord(Settings):
    """One line."""

    event: Literal["started", "ended", "reset"]
    """`reset`: the user asked for failed runs to be tried again; failures before it do not count."""
    unix_s: float
    state: RunState | None = None
    reason: str | None = None
    retryable: bool = True
    """Whether another attempt might end otherwise: not for a configuration that is wrong."""
    code: str | None = None
    """Fingerprint of the trainer's sources, of a `started` line."""
    environment: str | None = None
    """Fingerprint of versions and hardware, of a `started` line."""
    devices: str | None = None
    """What the attempt ran on, such as `cores 0,1`, of a `started` line."""


def read_attempts(run: RunPaths) -> list[AttemptRecord]:
    """All whole lines, oldest first; a line that is none of ours is passed over."""
    try:
        lines = run.attempts.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [record for line in lines if (record := _parse(line)) is not None]


def append_attempt(run: RunPaths, event: Literal["started", "ended", "reset"], **fields: Any) -> None:  # noqa: ANN401
    """Add a line; `fields` are those of `AttemptRecord`.

    Raises:
        StorageError: the file cannot be written.
    """
    record = AttemptRecord(event=event, unix_s=time.time(), **fields)
    file = AppendFile(run.attempts)
    try:
        file.write_line(json.dumps(record.model_dump(mode="json", exclude_defaults=True)).encode())
        file.flush()
    finally:
        file.close()


def failures_in_a_row(attempts: Sequence[AttemptRecord]) -> int:
    """Failed attempts since the last success or reset; interruptions neither count nor clear."""
    count = 0
    for record in attempts:
        if record.event == "reset" or record.state is RunState.SUCCEEDED:
            count = 0
        elif record.event == "ended" and record.state is RunState.FAILED:
            count += 1
    return count


def may_retry(attempts: Sequence[AttemptRecord], max_attempts: int) -> bool:
    """Whether a failed run is tried again without being asked."""
    if not attempts:
        return False
    if attempts[-1].event != "ended":
        return True  # nobody saw how the last one ended: sweepctl was killed
    return attempts[-1].retryable and failures_in_a_row(attempts) < max_attempts


def retry_at_unix(attempts: Sequence[AttemptRecord], backoff_s: float) -> float:
    """When the next attempt may begin, in seconds since the epoch: the wait doubles with each failure."""
    if not attempts or attempts[-1].state is not RunState.FAILED:
        return 0.0  # also where the attempt after a failure was begun already
    return attempts[-1].unix_s + backoff_s * 2.0 ** (failures_in_a_row(attempts) - 1)


def _parse(line: bytes) -> AttemptRecord | None:
    try:
        return AttemptRecord.model_validate_json(line)
    except ValidationError:
        return None  # the torn end of a killed writer
