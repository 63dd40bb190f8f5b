"""`sweepctl status --watch`: somebody else's sweep, until nothing of it runs any more."""

import json
import time
from contextlib import suppress
from pathlib import Path

from sweepctl.holder import who_runs
from sweepctl.watching.display import Display, make_display
from sweepctl.watching.progress import ENDED, count_states
from sweepctl.watching.show import in_brief
from sweepctl.watching.status import RunRow, SweepStatus, sweep_status

LOOK_S = 1.0
_NAMES_SHOWN = 3


def watch_sweep(runs_dir: Path, name: str | None, *, as_json: bool) -> SweepStatus:
    """Show how a sweep goes on, on stderr, or each change as a line of JSON on stdout. Ctrl-C ends it.

    Of an imported sweep nothing is shown: it does not go on.

    Returns:
        The sweep as it was at the last look.

    Raises:
        ConfigError: when there is no such sweep.
    """
    watched = WatchedSweep(runs_dir, name)
    with suppress(KeyboardInterrupt):
        if as_json:
            _print_changes(watched)
        elif watched.status.origin is None:  # of an imported sweep there is nothing to wait for
            with make_display() as display:
                _show(watched, display)
    return watched.status


class WatchedSweep:
    """A sweep that is looked at again and again; only runs that may have changed are read."""

    def __init__(self, runs_dir: Path, name: str | None) -> None:
        self._runs_dir = runs_dir
        self.status = sweep_status(runs_dir, name)
        self.progress = self.status.progress
        self._manifest_ns = _changed_ns(self.status.paths.manifest)
        self._seen: dict[str, tuple[int, ...]] = {}

    @property
    def active(self) -> bool:
        """Whether anything of it runs: `sweepctl run`, or a training that was started by hand."""
        return self.status.holder is not None or any(run.state == "running" for run in self.progress.runs)

    def look(self) -> list[RunRow]:
        """Look at its files again; the runs that may have changed, the first time all of them."""
        paths = self.status.paths
        manifest_ns = _changed_ns(paths.manifest)
        if manifest_ns != self._manifest_ns:  # another invocation's plan
            self.status = sweep_status(self._runs_dir, paths.name)
            self.progress = self.status.progress
            self._manifest_ns, self._seen = manifest_ns, {}
        # First: what a process did before it ended is there when the runs are looked at.
        self.status.holder = who_runs(paths)
        self.progress.began = self.status.began or self.progress.began
        changed = [row for row in self.status.rows if self._may_have_changed(row)]
        for row in changed:
            row.refresh(self.status.holder)
        running = [run.label or run.name for run in self.progress.runs if run.state == "running"]
        self.progress.slots = max(self.progress.slots, len(running))
        self.progress.doing = self._doing(running)
        return changed

    def _may_have_changed(self, row: RunRow) -> bool:
        paths = row.progress.paths
        evaluated = sorted(paths.root.glob("eval/*"))  # a folder changes when a result is put into it
        seen = tuple(map(_changed_ns, (paths.status, *evaluated)))
        before, self._seen[row.progress.name] = self._seen.get(row.progress.name), seen
        holder = self.status.holder
        waits = holder is not None and row.progress.name in holder.waiting
        return seen != before or waits or row.progress.state == "running" or row.progress.note is not None

    def _doing(self, running: list[str]) -> str:
        if self.status.origin is not None:
            return f"imported from {self.status.origin}, not run here"
        if running:
            few = len(running) <= _NAMES_SHOWN
            return "training " + (", ".join(running) if few else f"{len(running)} runs")
        if self.status.holder is None:
            return "not being run now"
        trained = all(run.state in ENDED for run in self.progress.runs)
        return "evaluating" if trained else "between runs"


def _show(watched: WatchedSweep, display: Display) -> None:
    said: dict[str, str] = {}
    while True:
        for row in watched.look():
            run = row.progress
            before = said.get(run.name, row.said)
            said[run.name] = row.said
            if row.said != before and row.reason:
                display.say(f"{run.label} {run.name} {row.said}: {in_brief(row.reason)}".lstrip())
        display.show(watched.progress)
        if not watched.active:
            break
        time.sleep(LOOK_S)
    display.say(f"nothing of {watched.progress.name} runs any more; sweepctl status {watched.progress.name}")


def _print_changes(watched: WatchedSweep) -> None:
    """A line for each run that changed, and one for the sweep when its own state did."""
    printed: dict[str, str] = {}
    while True:
        sweep = watched.status.paths.name
        records = [{"kind": "run", "sweep": sweep, **row.summary()} for row in watched.look()]
        holder = watched.status.holder
        records.append(
            {
                "kind": "sweep",
                "sweep": sweep,
                "pid": holder.pid if holder else None,
                "doing": watched.progress.activity,
                "states": count_states(watched.progress.runs),
            }
        )
        for record in records:
            line = json.dumps(record)
            key = str(record.get("run_name", ""))
            if printed.get(key) != line:
                printed[key] = line
                print(line, flush=True)
        if not watched.active:
            return
        time.sleep(LOOK_S)


def _changed_ns(path: Path) -> int:
    """When the file was last replaced, in nanoseconds; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
