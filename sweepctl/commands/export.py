"""`sweepctl export`."""

import json
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from sweepctl.exchange.building import size
from sweepctl.exchange.pack import Advance, pack
from sweepctl.watching.status import find_sweep


def export_sweep(runs_dir: Path, sweep: str, destination: Path, *, checkpoints: bool, as_json: bool) -> None:
    """Write a sweep as an archive to publish; progress goes to stderr.

    Raises:
        ConfigError: no such sweep, or a destination that is there already.
        StorageError: too little space.
    """
    paths = find_sweep(runs_dir, sweep)
    columns = (TextColumn("exporting"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def begin(total_bytes: int) -> Advance:
            task = progress.add_task("", total=total_bytes)
            if not console.is_terminal:
                console.print(f"exporting {size(total_bytes)} to {destination}", markup=False, soft_wrap=True)
            return partial(progress.advance, task)

        done = pack(paths, destination, checkpoints=checkpoints, advance=begin)
    if as_json:
        summary = {
            "sweep": paths.name,
            "destination": str(done.destination),
            "files": done.files,
            "size_bytes": done.size_bytes,
            "remarks": list(done.remarks),
        }
        print(json.dumps(summary, indent=2))
        return
    print(f"{paths.name}: {done.files} files, {size(done.size_bytes)}, in {done.destination}")
    for remark in done.remarks:
        print(f"note: {remark}")
