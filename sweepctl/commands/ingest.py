"""`sweepctl ingest`."""

import json
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from sweepctl.commands.run import DEFAULT_RUNS
from sweepctl.doctor.finding import counted
from trainer.errors import ConfigError


@dataclass(frozen=True)
class Quarantine:
    """What of the runs' files could not be read, this time or earlier, and still cannot."""

    entries: int
    """Lines; a file of which nothing can be read is one."""
    files: int
    command: str
    """What to type to see them."""


def print_ingest(runs_dir: Path, *, rebuild: bool, as_json: bool) -> None:
    """Bring the store up to date, and say what was done and what is in quarantine.

    Raises:
        ConfigError: when there is no such folder.
        IngestError: the files cannot be read into the store.
    """
    if not runs_dir.is_dir():
        raise ConfigError(f"{runs_dir}: no such folder; name the runs directory with --runs-dir")
    from results.ingest import ingest  # noqa: PLC0415 - duckdb is slow to import

    done = ingest(runs_dir, rebuild=rebuild)
    held = _quarantine(runs_dir)
    if as_json:
        print(json.dumps({**asdict(done), "store": str(done.store), "quarantine": asdict(held)}, indent=2))
        return
    if done.rebuilt_because is not None and not rebuild:
        print(f"made again from all files: {done.rebuilt_because}", file=sys.stderr)
    unreadable = f", {done.quarantined} unreadable" if done.quarantined else ""
    print(f"{done.store}: {done.lines} lines of {done.files} files in {done.seconds:.1f} s{unreadable}")
    if held.entries:
        where = f"{held.entries} unreadable, of {counted(held.files, 'file')}"
        print(f"in quarantine: {where}; see them with: {held.command}")


def _quarantine(runs_dir: Path) -> Quarantine:
    from results.store import Store  # noqa: PLC0415 - duckdb is slow to import

    found = Store(runs_dir).query("SELECT count(*) AS entries, count(DISTINCT path) AS files FROM quarantine")
    words = ["sweepctl", "query", "FROM quarantine"]
    words += ["--runs-dir", str(runs_dir)] if runs_dir != DEFAULT_RUNS else []
    return Quarantine(int(found["entries"].iloc[0]), int(found["files"].iloc[0]), shlex.join(words))
