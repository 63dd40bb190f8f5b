"""`python -m sweepctl.mirrors NAME RUN`: send a run's steps to a mirror, until the run has ended.

Ended by SIGINT or SIGTERM it still sends what the trace has. Exit codes: 0 all was sent, 1 the mirror
failed, 2 the package is not installed or there is no such run.
"""

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from sweepctl.mirrors.companions import check
from sweepctl.mirrors.follow import Following
from sweepctl.mirrors.protocol import Mirror
from sweepctl.mirrors.tensorboard_files import TensorBoardFiles
from sweepctl.mirrors.trackio_run import TrackioRun
from sweepctl.mirrors.weights_and_biases import WeightsAndBiases
from sweepctl.spec.model import MirrorName
from sweepctl.states import read_status
from trainer.errors import ConfigError, SweepctlError
from trainer.paths import RunPaths
from trainer.records import RunState

MIRRORS: dict[MirrorName, type[Mirror]] = {
    "wandb": WeightsAndBiases,
    "tensorboard": TensorBoardFiles,
    "trackio": TrackioRun,
}
"""By the name in the spec, which is also that of the package and of the extra."""
_POLL_S = 1.0
_OVER = {RunState.SUCCEEDED, RunState.FAILED, RunState.INTERRUPTED, RunState.SKIPPED}


def main(
    name: Annotated[MirrorName, typer.Argument(help="Which mirror.")],
    run: Annotated[Path, typer.Argument(help="The run's folder, runs/SWEEP/RUN.")],
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until asked to end, whatever state the run is in.")
    ] = False,
) -> None:
    """Send a run's steps to a mirror."""
    try:
        if missing := check([name]):
            raise ConfigError(missing[0])
        _follow(name, RunPaths(run.resolve()), until_told=follow)
    except SweepctlError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, ConfigError) else 1) from error


def _follow(name: MirrorName, run: RunPaths, *, until_told: bool) -> None:
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # held back while we were starting
    following = Following(name, MIRRORS[name](), run)
    while True:
        # Before the trace is read: what a run that is over has written is then all there.
        state = _state(run)
        following.send_new()
        if told.is_set() or (state in _OVER and not until_told):
            break
        told.wait(_POLL_S)
    following.close(_state(run))


def _state(run: RunPaths) -> RunState:
    status = read_status(run)
    return RunState.PENDING if status is None else status.state


if __name__ == "__main__":
    typer.run(main)
