"""Keeps a mirror up to date with a trace, over restarts of the run and of the mirror.

How far the mirror got stands in `mirrors/<name>.json`, written after each point; a process that takes over
reads the trace from its start and sends what is missing. Where a mirror can take back, that is all since the
run was last resumed.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from sweepctl.files import write_atomically
from sweepctl.mirrors.points import Point, Rewind, TracePoints
from sweepctl.mirrors.protocol import Mirror, MirroredRun
from trainer.config import RunFile
from trainer.errors import ConfigError
from trainer.paths import RunPaths
from trainer.records import RunState


class Progress(BaseModel):
    """How far a mirror got, as it is kept in its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str
    step: int = -1
    """The last point sent: its policy version, and whether it was of a held-out evaluation."""
    held_out: bool = False

    def at(self, place: tuple[int, bool]) -> "Progress":
        """The same with another last point."""
        return self.model_copy(update={"step": place[0], "held_out": place[1]})

    @property
    def place(self) -> tuple[int, bool]:
        """Order of the last point sent, as `Point.place`."""
        return self.step, self.held_out


class Following:
    """One mirror of one run.

    Raises:
        ConfigError: `config.json` or the mirror's own file is none.
        MirrorError: from any method, when the mirror cannot go on.
    """

    def __init__(self, name: str, mirror: Mirror, run: RunPaths) -> None:
        self._mirror = mirror
        self._run = run
        self._file = read_run_file(run.config)
        self._path = folder(run) / f"{name}.json"
        self._earlier = _read_progress(self._path)
        self._trace = TracePoints(run.trace)
        self._progress: Progress | None = None

    def send_new(self) -> None:
        """Send what the trace has that the mirror has not; nothing before the run has begun."""
        items = self._trace.new()
        if self._progress is None:
            if self._trace.began_unix is None and not items:
                return
            self._progress = self._open()
        for item in items:
            self._send(item)

    def close(self, state: RunState) -> None:
        """Send what is left and say how the run ended."""
        self.send_new()
        if self._progress is not None:
            self._mirror.close(state)

    def _open(self) -> Progress:
        began = self._trace.began_unix
        identity = self._file.run_id if began is None else f"{self._file.run_id}-{int(began):x}"
        earlier = self._earlier if self._earlier and self._earlier.identity == identity else None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        held = self._mirror.open(
            MirroredRun(self._file, self._path.parent, identity, seen_before=earlier is not None)
        )
        if earlier is None:
            return Progress(identity=identity)
        # A process that was killed may have sent a point more than it noted, or noted one that never arrived.
        if held is not None and held != earlier.step:
            return earlier.at((held, False))
        self._mirror.rewind(earlier.step)
        return earlier

    def _send(self, item: Point | Rewind) -> None:
        progress = self._progress
        assert progress is not None
        if isinstance(item, Point):
            if item.place <= progress.place:
                return
            self._mirror.log(item)
            self._note(progress.at(item.place))
        elif self._mirror.rewind(item.step):
            self._note(progress.at(min(progress.place, (item.step, True))))

    def _note(self, progress: Progress) -> None:
        self._progress = progress
        write_atomically(self._path, progress.model_dump_json() + "\n")


def folder(run: RunPaths) -> Path:
    """Where the mirrors of a run keep their files."""
    return run.root / "mirrors"


def read_run_file(path: Path) -> RunFile:
    """A run's `config.json`.

    Raises:
        ConfigError: it is not there, or is none.
    """
    try:
        return RunFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); give the folder of a run: runs/SWEEP/RUN"
        ) from error
    except ValidationError as error:
        raise ConfigError(
            f"{path} is no run's configuration ({error.error_count()} errors); give the folder of a run"
        ) from error


def _read_progress(path: Path) -> Progress | None:
    try:
        return Progress.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ConfigError(
            f"{path}: does not say how far the mirror got; remove it to send the whole run again"
        ) from error
