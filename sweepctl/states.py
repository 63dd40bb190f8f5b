"""What state a run is in, by its files and by whether its process still lives."""

import time

import psutil
from pydantic import ValidationError

from trainer import status as status_file
from trainer.errors import ConfigError
from trainer.paths import RunPaths
from trainer.records import RunState, RunStatus

HEARTBEAT_LOST_S = 60.0
"""A run without a known process counts as dead after so long without a heartbeat, due every 5 s."""


def read_status(run: RunPaths) -> RunStatus | None:
    """What `status.json` says, corrected: `running` by a process that is gone is `interrupted`.

    Raises:
        ConfigError: when the file is no status.
    """
    try:
        status = RunStatus.model_validate_json(run.status.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ConfigError(
            f"{run.status}: not a run's status ({error.error_count()} errors); remove it"
        ) from None
    if status.state is RunState.RUNNING and not is_alive(status):
        return status.model_copy(
            update={"state": RunState.INTERRUPTED, "reason": "its process ended without a word"}
        )
    return status


def is_alive(status: RunStatus) -> bool:
    """Whether the process that wrote a status still runs; a pid given away again does not count."""
    if status.pid is None:
        return time.time() - status.heartbeat < HEARTBEAT_LOST_S
    try:
        process = psutil.Process(status.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return status.pid_started is None or abs(process.create_time() - status.pid_started) < 2.0
    except psutil.NoSuchProcess:
        return False


def write_status(run: RunPaths, status: RunStatus) -> None:
    """Replace `status.json` as a whole, also of a run that has no folder yet."""
    run.root.mkdir(parents=True, exist_ok=True)
    status_file.write_status(run.status, status)


def write_pending(run: RunPaths, max_steps: int) -> None:
    """Say that a run is about to be started, keeping of earlier attempts their number only."""
    earlier = read_status(run)
    attempt = earlier.attempt if earlier else 0
    write_status(
        run, RunStatus(state=RunState.PENDING, attempt=attempt, heartbeat=time.time(), max_steps=max_steps)
    )


def change_state(run: RunPaths, state: RunState, reason: str | None, max_steps: int) -> None:
    """Set state and reason, keeping what is known of attempts and steps."""
    now = time.time()
    status = read_status(run) or RunStatus(state=state, attempt=0, heartbeat=now, max_steps=max_steps)
    changes = {"state": state, "reason": reason, "heartbeat": now, "max_steps": max_steps}
    write_status(run, status.model_copy(update=changes))
