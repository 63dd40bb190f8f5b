"""What became of an attempt: what the run says itself, corrected by how its process ended."""

from dataclasses import dataclass
from pathlib import Path

from sweepctl.running.supervise import Cause, Limits
from sweepctl.watching.progress import duration
from trainer.records import RunState, RunStatus

USAGE, INTERRUPTED = 2, 130
"""Exit codes of the trainer: a configuration that is wrong; a signal that asked it to end."""
_SIGKILL = 128 + 9


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt."""

    state: RunState
    reason: str | None = None
    retryable: bool = True
    """Whether another attempt may end otherwise."""
    killed: bool = False
    """Somebody else ended its process: nothing is known against the run."""
    log: Path | None = None
    """Where the cause is told, if that is not the run's own log."""


def verdict(status: RunStatus | None, code: int, cause: Cause, limits: Limits) -> Outcome:
    """Judge an attempt that has ended.

    Args:
        status: what the run wrote last.
        code: exit code of its process, 128 + n for signal n.
        cause: why it ended.
        limits: those it ran under.
    """
    if status is not None and status.state is RunState.SUCCEEDED and code == 0:
        return Outcome(RunState.SUCCEEDED)
    if cause is Cause.STOPPED:
        return Outcome(RunState.INTERRUPTED, "sweepctl was asked to stop")
    if cause is Cause.TIMEOUT:
        return Outcome(RunState.FAILED, f"it took longer than timeout.run = {duration(limits.run_s or 0)}")
    if cause is Cause.IDLE:
        idle = duration(limits.idle_s or 0)
        return Outcome(RunState.FAILED, f"its trace did not grow for timeout.idle = {idle}")
    return _ended_itself(status, code)


def _ended_itself(status: RunStatus | None, code: int) -> Outcome:
    retryable = code != USAGE
    if status and status.state in {RunState.FAILED, RunState.INTERRUPTED} and code not in {0, _SIGKILL}:
        return Outcome(status.state, status.reason, retryable)
    if code > 128:
        return Outcome(RunState.INTERRUPTED, f"its process was ended by signal {code - 128}", killed=True)
    return Outcome(
        RunState.FAILED, f"its process ended with exit code {code} and no word of success", retryable
    )
