"""Whether a run that is not well is tried again by the `sweepctl run` at work, without being asked."""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from sweepctl.attempts import AttemptRecord, may_retry, read_attempts
from sweepctl.holder import Holder
from sweepctl.spec.model import Retry
from trainer.paths import RunPaths
from trainer.records import RunState

TO_BE_TRIED_AGAIN = "to be tried again"
"""What stands in place of such a run's state."""
_KILLED = "its process was ended by signal"
"""How the reason begins of an attempt that somebody else ended; see `sweepctl.running.verdict`."""


def max_attempts(manifest: dict[str, Any]) -> int:
    """How often a run may fail in a row, by the sweep's manifest; the default where it does not say."""
    declared = (manifest.get("spec") or {}).get("declared") or {}
    try:
        return Retry.model_validate(declared.get("retry") or {}).max_attempts
    except ValidationError:
        return Retry().max_attempts


def is_tried_again(paths: RunPaths, state: RunState, holder: Holder | None, attempts_allowed: int) -> bool:
    """Whether a run goes on by itself though it has ended.

    Which runs were chosen with `--only` is not on record: of earlier invocations' runs all are expected.

    Args:
        paths: its files.
        state: by its status.
        holder: the process that runs the sweep now.
        attempts_allowed: how often it may fail in a row.
    """
    if holder is None or state not in {RunState.FAILED, RunState.INTERRUPTED}:
        return False
    attempts = read_attempts(paths)
    if state is RunState.FAILED:
        return may_retry(attempts, attempts_allowed)
    return _goes_on(attempts, holder, attempts_allowed)


def _goes_on(attempts: Sequence[AttemptRecord], holder: Holder, attempts_allowed: int) -> bool:
    """Of an interrupted run: each invocation goes on with it, and again after it was killed."""
    ended = [each for each in attempts if each.event == "ended" and each.unix_s >= holder.since_unix]
    if not ended or attempts[-1] != ended[-1]:
        return True  # its turn comes; or it has just ended, and nobody has judged it yet
    killed = [(each.reason or "").startswith(_KILLED) for each in ended]
    return killed[-1] and sum(killed) < attempts_allowed
