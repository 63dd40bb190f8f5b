"""`python -m trainer --config run.json [--engine SOCKET]`: train one run.

Exit codes: 0 the run succeeded, 1 it failed, 2 its configuration is wrong, 130 it was interrupted.
"""

import os
import signal
import sys
from collections import deque
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
from trainer.trace import TraceWriter, read_records

if TYPE_CHECKING:
    from trainer.engine.protocol import Engine
    from trainer.loop import Loop


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
        _run(file, RunPaths(config.resolve().parent), engine)
        code = 0
    except Interrupted as error:
        print(f"interrupted: {error}", file=sys.stderr)
        code = 128 + signal.SIGINT
    except SweepctlError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2 if isinstance(error, ConfigError) else 1
    raise typer.Exit(code)


def _read(path: Path) -> RunFile:
    try:
        file = RunFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is no valid run configuration:\n{error}") from error
    identity = file.config.run_id(file.inputs)
    if file.run_id != identity:
        raise ConfigError(
            f"{path}: run_id is {file.run_id}, but this configuration's is {identity}. A changed "
            "configuration is another run: plan it again, or give it a folder of its own"
        )
    return file


def _run(file: RunFile, paths: RunPaths, socket: Path | None) -> None:
    all_cores = _use_cores(file.resources.cores)
    interruptions = Interruptions()
    with TraceWriter(paths.trace) as trace:
        heartbeat = Heartbeat(paths.status, trace.attempt, file.config.max_steps)
        state, reason = RunState.FAILED, None
        try:
            if not _was_done(file, paths):
                _train(
                    file=file,
                    paths=paths,
                    trace=trace,
                    heartbeat=heartbeat,
                    start_engine=_engine_for(file, paths, socket, all_cores),
                    engine_runs=socket is not None,
                    interruptions=interruptions,
                )
            heartbeat.step = file.config.max_steps
            state = RunState.SUCCEEDED
        except Interrupted as error:
            state, reason = RunState.INTERRUPTED, str(error)
            raise
        except Exception as error:
            reason = str(error) if isinstance(error, SweepctlError) else f"{type(error).__name__}: {error}"
            raise
        finally:
            heartbeat.finish(state, reason)
    # Only now: killed before its status said so, a run would else have nothing to go on from.
    paths.remove_resume()


def _was_done(file: RunFile, paths: RunPaths) -> bool:
    """Whether an earlier attempt did all steps: killed before its status said so, or asked again."""
    last = deque(read_records(paths.trace), maxlen=1)
    finished = bool(last) and last[0]["kind"] == "run_finished" and last[0]["state"] == RunState.SUCCEEDED
    if finished and paths.checkpoint(file.config.max_steps).is_dir():
        print("this run has succeeded already", flush=True)
        return True
    return False


def _engine_for(
    file: RunFile, paths: RunPaths, socket: Path | None, cores: frozenset[int]
) -> Callable[[], "Engine"]:
    from trainer.engine.start import start_engine  # noqa: PLC0415

    # An engine of our own gets the cores that the learner leaves.
    engine_cores = tuple(sorted(cores - set(file.resources.cores)))
    model, settings, way = file.config.model, file.config.engine, file.resources.weight_transfer
    return lambda: start_engine(model, settings, socket, paths.root, engine_cores, weight_transfer=way)


def _train(
    *,
    file: RunFile,
    paths: RunPaths,
    trace: TraceWriter,
    heartbeat: Heartbeat,
    start_engine: Callable[[], "Engine"],
    engine_runs: bool,
    interruptions: Interruptions,
) -> None:
    # Slow to import, so only once the configuration is known to be good.
    from trainer.loop import Loop  # noqa: PLC0415

    loop = Loop(file, paths, trace, heartbeat, start_engine, engine_runs=engine_runs)
    interruptions.send_to(loop.interrupt)
    train_to_the_end(loop, file, trace, heartbeat)


def train_to_the_end(loop: "Loop", file: RunFile, trace: TraceWriter, heartbeat: Heartbeat) -> None:
    """Run the loop, close it, and write the attempt's last line, which says how it ended.

    Raises:
        TrainingError: the run came to its end, but its records do not add up.
        BaseException: whatever ended the run early.
    """
    problem: BaseException | None = None
    try:
        loop.run()
    except BaseException as error:
        problem = error
    work = loop.close()
    if problem is None:
        wrong = violations(trace.path, file.config, {"attempt": trace.attempt, **work})
        if wrong:
            problem = TrainingError("the run's records do not add up: " + "; ".join(wrong))
    trace.write(
        RunFinished,
        state=_state(problem),
        reason=None if problem is None else str(problem),
        policy_version=heartbeat.step,
        wall_s=trace.clock.now(),
        **work,
    )
    if problem is not None:
        raise problem


def _state(problem: BaseException | None) -> RunState:
    if problem is None:
        return RunState.SUCCEEDED
    return RunState.INTERRUPTED if isinstance(problem, Interrupted) else RunState.FAILED


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
