"""`python -m trainer --config run.json [--engine SOCKET]`: train one run.

Exit codes: 0 the run succeeded, 1 it failed, 2 its configuration is wrong, 130 it was interrupted.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from trainer.config import RunFile
from trainer.conservation import violations
from trainer.errors import ConfigError, SweepctlError, TrainingError
from trainer.interrupt import Interrupted, Interruptions
from trainer.paths import RunPaths
from trainer.records import RunFinished, RunState
from trainer.status import Heartbeat
from trainer.trace import TraceWriter

if TYPE_CHECKING:
    from trainer.engine.protocol import Engine


def main(
    config: Annotated[Path, typer.Option(help="The run's config.json; its folder is the run's.")],
    engine: Annotated[
        Path | None,
        typer.Option(help="Unix socket of a running vllm serve; without it the run starts its own."),
    ] = None,
) -> None:
    """Train one run with asynchronous GRPO."""
    try:
        file = _read(config)
        code = _run(file, RunPaths(config.resolve().parent), engine)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except SweepctlError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    raise typer.Exit(code)


def _read(path: Path) -> RunFile:
    try:
        return RunFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is no valid run configuration:\n{error}") from error


def _run(file: RunFile, paths: RunPaths, socket: Path | None) -> int:
    all_cores = _use_cores(file.resources.cores)
    interruptions = Interruptions()
    with TraceWriter(paths.trace) as trace:
        heartbeat = Heartbeat(paths.status, trace.attempt, file.config.max_steps)
        state, reason = RunState.FAILED, None
        try:
            _train(
                file=file,
                paths=paths,
                trace=trace,
                heartbeat=heartbeat,
                start_engine=_engine_for(file, paths, socket, all_cores),
                interruptions=interruptions,
            )
            state = RunState.SUCCEEDED
        except Interrupted as error:
            state, reason = RunState.INTERRUPTED, str(error)
        except Exception as error:
            reason = str(error) if isinstance(error, SweepctlError) else f"{type(error).__name__}: {error}"
            raise
        finally:
            heartbeat.finish(state, reason)
    if state is RunState.INTERRUPTED:
        print(f"interrupted: {reason}", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _engine_for(
    file: RunFile, paths: RunPaths, socket: Path | None, cores: frozenset[int]
) -> Callable[[], "Engine"]:
    from trainer.engine.start import start_engine  # noqa: PLC0415

    # An engine of our own gets the cores that the learner leaves.
    engine_cores = tuple(sorted(cores - set(file.resources.cores)))
    return lambda: start_engine(file.config.model, file.config.engine, socket, paths.root, engine_cores)


def _train(
    *,
    file: RunFile,
    paths: RunPaths,
    trace: TraceWriter,
    heartbeat: Heartbeat,
    start_engine: Callable[[], "Engine"],
    interruptions: Interruptions,
) -> None:
    # Slow to import, so only once the configuration is known to be good.
    from trainer.loop import Loop  # noqa: PLC0415

    loop = Loop(file, paths, trace, heartbeat, start_engine)
    interruptions.send_to(loop.interrupt)
    state, reason = RunState.FAILED, None
    try:
        loop.run()
        state = RunState.SUCCEEDED
    except Interrupted as error:
        state, reason = RunState.INTERRUPTED, str(error)
        raise
    except Exception as error:
        reason = str(error)
        raise
    finally:
        work = loop.close()
        trace.write(
            RunFinished,
            state=state,
            reason=reason,
            policy_version=heartbeat.step,
            wall_s=trace.clock.now(),
            **work,
        )
    if wrong := violations(paths.trace, file.config):
        raise TrainingError("the run's records do not add up: " + "; ".join(wrong))
    loop.finish()


def _use_cores(cores: tuple[int, ...]) -> frozenset[int]:
    """Pin this process; returns the cores it could use before."""
    if not hasattr(os, "sched_setaffinity"):
        return frozenset()
    before = frozenset(os.sched_getaffinity(0))
    if cores:
        os.sched_setaffinity(0, cores)
    return before


if __name__ == "__main__":
    typer.run(main)
