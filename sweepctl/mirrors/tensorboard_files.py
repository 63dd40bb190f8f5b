"""TensorBoard: event files in the run's folder; show a sweep with `tensorboard --logdir runs/SWEEP`.

Written with TensorBoard's own writer, without TensorFlow or torch.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from sweepctl.mirrors.points import Point
from sweepctl.mirrors.protocol import MirroredRun
from trainer.records import RunState

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event


class TensorBoardFiles:
    """One folder of event files, a new file for each mirror process."""

    def open(self, run: MirroredRun) -> int | None:
        """Begin a file, in the first one with the run's configuration."""
        from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415

        folder = run.folder / "tensorboard"
        _wait_for_a_later_name(folder)
        self._writer = EventFileWriter(str(folder))
        if not run.seen_before:
            self.rewind(-1)  # a trace that was removed by hand may have left files
            self._write_settings(run)
        return None

    def log(self, point: Point) -> None:
        """One event with all the point's scalars, on disk when this returns."""
        from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in point.metrics.items()]
        self._write(_event(step=point.step, wall_time=point.unix_s, summary=Summary(value=values)))

    def rewind(self, step: int) -> bool:
        """Have readers drop what was written of later steps."""
        from tensorboard.compat.proto.event_pb2 import SessionLog  # noqa: PLC0415

        log = SessionLog(status=SessionLog.START)
        self._write(_event(step=step + 1, wall_time=time.time(), session_log=log))
        return True

    def close(self, state: RunState) -> None:
        """Close the file."""
        self._writer.close()

    def _write_settings(self, run: MirroredRun) -> None:
        """The configuration, for the HParams page."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # noqa: PLC0415

        settings = {key: "none" if value is None else value for key, value in run.settings.items()}
        summary = hparams_pb(settings, trial_id=run.file.run_name)
        self._write(_event(step=0, wall_time=time.time(), summary=summary))

    def _write(self, event: "Event") -> None:
        self._writer.add_event(event)
        self._writer.flush()


def _event(**fields: object) -> "Event":
    from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415

    return Event(**fields)


def _wait_for_a_later_name(folder: Path) -> None:
    """Readers take files in the order of their names, which begin with the second they were made in."""
    names = [path.name.split(".") for path in folder.glob("events.out.tfevents.*")]
    newest = max((int(parts[3]) for parts in names), default=0)
    while newest == int(time.time()):
        time.sleep(0.05)
