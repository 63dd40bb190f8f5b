"""Whether a run's records hold together: its files agree, and what must add up does."""

import json
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from sweepctl.doctor.finding import Finding, counted, ok, problem, warning
from sweepctl.states import is_alive
from trainer.config import RunFile
from trainer.conservation import violations
from trainer.fingerprint import inputs
from trainer.paths import RunPaths, metadata_path, samples_path
from trainer.records import RunState, RunStatus
from trainer.trace import read_records

_OUR_MODEL = "EngineModel"
"""What lm-eval notes as the model when `trainer.evaluation` called it."""
_AGAIN = "run it again: `sweepctl run SPEC --force --only {name}` sets this directory aside"


def check_records(paths: RunPaths, *, weights: bool = True) -> Iterator[Finding]:
    """Every file of a run; each finding names one.

    Args:
        paths: its files.
        weights: whether a run that has succeeded must have its last checkpoint: an archive may leave all out.
    """
    again = _AGAIN.format(name=paths.root.name)
    file = _config(paths)
    if isinstance(file, Finding):
        yield file
        return
    yield _identity(file, paths)
    status = _status(paths)
    if isinstance(status, Finding):
        yield status
        return
    yield from check_state(paths, status, again, weights=weights)
    if paths.trace.exists():
        yield from _conservation(paths, file, status, again)
    yield from check_checkpoints(paths, again)
    yield from check_evaluations(paths)


def _config(paths: RunPaths) -> RunFile | Finding:
    try:
        return RunFile.model_validate_json(paths.config.read_bytes())
    except FileNotFoundError:
        return warning("config", f"{paths.config}: not there", "the run has not begun; `sweepctl run SPEC`")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        return problem(
            "config", f"{paths.config}: {where}: {first['msg']}", "run the spec again: it is written anew"
        )


def _identity(file: RunFile, paths: RunPaths) -> Finding:
    identity = file.config.run_id(file.inputs)
    if identity != file.run_id:
        return problem(
            "config",
            f"{paths.config}: run_id is {file.run_id}, its configuration's is {identity}",
            "it was edited after the run: put it back, or run the spec again, which sets this run aside",
        )
    now = inputs(file.config)
    if changed := [key for key, value in file.inputs.items() if now.get(key, value) != value]:
        return warning(
            "config",
            f"{', '.join(changed)}: the files have changed since the run",
            "the same spec is another run now; put the files back to go on with this one",
        )
    return ok("config", f"run_id {file.run_id} is that of the configuration")


def _status(paths: RunPaths) -> RunStatus | Finding:
    try:
        return RunStatus.model_validate_json(paths.status.read_bytes())
    except FileNotFoundError:
        return warning("status", f"{paths.status}: not there", "the run has not begun; `sweepctl run SPEC`")
    except ValidationError as error:
        found = f"{paths.status}: not a run's status ({counted(error.error_count(), 'error')})"
        return problem("status", found, "remove it, and run the spec again: the run goes on")


def check_state(paths: RunPaths, status: RunStatus, again: str, *, weights: bool) -> Iterator[Finding]:
    """What status.json says against the process it names, and against the end of the trace."""
    said = f"{status.state} at step {status.step} of {status.max_steps}, attempt {status.attempt}"
    if status.state is RunState.RUNNING and not is_alive(status):
        yield warning("status", f"{said}, but its process is gone", "the same `sweepctl run` goes on with it")
        return
    if status.state is RunState.SUCCEEDED:
        last = deque(read_records(paths.trace), maxlen=1) if paths.trace.exists() else deque()
        ended = bool(last) and last[0]["kind"] == "run_finished" and last[0]["state"] == RunState.SUCCEEDED
        if not ended:
            yield problem("status", f"{said}, but the trace does not end so", again)
            return
        if weights and not paths.checkpoint(status.max_steps).is_dir():
            yield problem("status", f"{said}, but its last checkpoint is not there", again)
            return
    because = f": {status.reason}" if status.reason else ""
    yield ok("status", said + because)


def _conservation(paths: RunPaths, file: RunFile, status: RunStatus, again: str) -> Iterator[Finding]:
    """What must add up at a run's end; before it, groups have no fate yet."""
    if status.state is not RunState.SUCCEEDED:
        yield ok("conservation", f"checked when the run has succeeded; it is {status.state}")
        return
    try:
        found = violations(paths.trace, file.config)
    except (KeyError, TypeError) as error:
        yield problem("conservation", f"{paths.trace}: a record lacks a field: {error}", again)
        return
    for violation in found:
        yield problem("conservation", violation, f"do not publish its figures; {again}")
    if not found:
        yield ok("conservation", "every group has one fate, and tokens, steps and times add up")


def check_checkpoints(paths: RunPaths, again: str) -> Iterator[Finding]:
    """Whether the files of every checkpoint could be loaded, and no half-written one lies beside them."""
    folder = paths.root / "checkpoints"
    for left in sorted([*folder.glob("*.partial"), *folder.glob("*.old")]):
        yield warning(
            "checkpoints",
            f"{left.relative_to(paths.root)}: cut off while it was written",
            f"the next attempt tidies it up; of a finished run: rm -r {left}",
        )
    whole = 0
    for checkpoint in paths.checkpoints():
        if reason := broken(checkpoint):
            yield problem(
                "checkpoints",
                f"{checkpoint.relative_to(paths.root)}: {reason}",
                f"remove it; if it is the last, {again}",
            )
        else:
            whole += 1
    yield ok("checkpoints", f"{whole} whole")


def broken(checkpoint: Path) -> str | None:
    """Why transformers could not load a checkpoint, by the look of its files; None: it could."""
    try:
        json.loads((checkpoint / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        return f"config.json cannot be read ({type(error).__name__})"
    weights = sorted(checkpoint.glob("*.safetensors"))
    if not weights:
        return "no *.safetensors in it"
    return next((f"{file.name}: {reason}" for file in weights if (reason := _broken_weights(file))), None)


def _broken_weights(file: Path) -> str | None:
    """Whether a safetensors file is as long as its header says; the numbers are not read.

    Eight bytes of header length, a JSON header with the place of every tensor, the tensors end to end.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, size)))
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (struct.error, ValueError, TypeError, AttributeError, LookupError):
        return "its header cannot be read"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"it has {size} bytes, and should have {expected}"


def check_evaluations(paths: RunPaths) -> Iterator[Finding]:
    """Whether every result is JSON and, if it is our own, has samples and metadata beside it."""
    whole = 0
    for result in sorted((paths.root / "eval").glob("*/*shot.json")):
        if reason := _unfinished(result):
            yield warning(
                "evaluations",
                f"{result.relative_to(paths.root)}: {reason}",
                "remove it: the same `sweepctl run` evaluates it again",
            )
        else:
            whole += 1
    yield ok("evaluations", f"{whole} whole")


def _unfinished(result: Path) -> str | None:
    """What an evaluation lacks; None where it is whole. The metadata is written last."""
    try:
        model = json.loads(result.read_bytes())["config"]["model"]
    except ValueError:
        return "no JSON"
    except (KeyError, TypeError):
        model = None
    if model != _OUR_MODEL:
        return None  # lm-eval by hand leaves what it leaves
    missing = [path.name for path in (samples_path(result), metadata_path(result)) if not path.exists()]
    return f"without {' and '.join(missing)}" if missing else None
