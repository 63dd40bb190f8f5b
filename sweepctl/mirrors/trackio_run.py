"""Trackio: a project for each sweep, in its local database or wherever `TRACKIO_SPACE_ID` says.

Rows there stay: steps that a resumed run did again keep what was sent first.
"""

import os

from sweepctl.mirrors.points import Point
from sweepctl.mirrors.protocol import MirroredRun, MirrorError
from trainer.records import RunState


class TrackioRun:
    """One run of a Trackio project."""

    def open(self, run: MirroredRun) -> int | None:
        """Make the run, or go on with the latest of that name."""
        import trackio  # noqa: PLC0415 - slow to import, and may not be installed
        from trackio.sqlite_storage import SQLiteStorage  # noqa: PLC0415

        project, name = run.file.sweep, run.file.run_name
        try:
            self._run = trackio.init(
                project=project,
                name=name,
                group=run.file.profile,
                config={**run.settings, "tags": ", ".join(run.file.tags), "identity": run.identity},
                resume="allow" if run.seen_before else "never",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        except ValueError as error:
            raise MirrorError(f"Trackio does not take the run: {error}") from error
        if not run.seen_before or os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL"):
            return None
        last = SQLiteStorage.get_last_step(project, name)
        return -1 if last is None else int(last)

    def log(self, point: Point) -> None:
        """One row."""
        self._run.log(dict(point.metrics), step=point.step)

    def rewind(self, step: int) -> bool:
        """Never: what was sent stays."""
        return False

    def close(self, state: RunState) -> None:
        """Wait until every row is written."""
        self._run.finish()  # type: ignore[no-untyped-call] # trackio's
