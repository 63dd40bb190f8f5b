"""`sweepctl logs`."""

import sys
import time
from pathlib import Path

from sweepctl.states import read_status
from sweepctl.watching.status import find_run
from trainer.errors import ConfigError
from trainer.paths import RunPaths
from trainer.records import RunState


def print_log(runs_dir: Path, name: str, *, follow: bool, lines: int | None, as_json: bool) -> None:
    """Print a run's log, and with `follow` what is added until the run has ended.

    Raises:
        ConfigError: when the run has not begun.
    """
    run = find_run(runs_dir, name)
    if not run.log.exists() and not (follow and _may_go_on(run)):
        raise ConfigError(f"{run.log}: the run has printed nothing yet")
    offset = 0
    while True:
        going_on = follow and _may_go_on(run)
        if run.log.exists():
            with run.log.open("rb") as file:
                file.seek(offset)
                text = file.read()
            offset += len(text)
            sys.stdout.write(text.decode(errors="replace"))
            sys.stdout.flush()
        if not going_on:
            return
        time.sleep(0.5)


def _may_go_on(run: RunPaths) -> bool:
    status = read_status(run)
    return status is not None and status.state in {RunState.PENDING, RunState.RUNNING}
