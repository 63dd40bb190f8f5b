"""How fast traces are read, in how much memory, and what an ingest and a snapshot cost at scale.

    python benchmarks/ingest.py           about three minutes and 3 GB of disk

Times are of the processor, so that other work on the machine matters little. Reading is also given as a
multiple of what `json.loads` alone takes for the same lines, which matters less still. Each case runs in a
process of its own, so that its peak memory is its own.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

sys.path.insert(1, str(Path(__file__).parents[1] / "tests"))  # made-up sweeps are there
sys.path.insert(1, str(Path(__file__).parents[1]))  # before it: tests/results must not hide results

from factories.large_sweep import write_large_sweep

from results.database import ONE_THREAD
from results.files.reading import read_sources
from results.ingest import ingest
from results.migration import create_schema
from trainer.paths import store_path

Sweep = dict[str, int]

READING: dict[str, Sweep] = {
    "200 thousand lines of one trace": {"runs": 1, "steps": 20_000, "groups_per_step": 4},
    "2 million lines of one trace": {"runs": 1, "steps": 200_000, "groups_per_step": 4},
    "step lines only, 100 traces": {"runs": 100, "steps": 1000},
    "1,000 runs of 100 steps": {"runs": 1000, "steps": 100, "groups_per_step": 1},
}
SCALE: dict[str, Sweep] = {
    "1,000 runs of 1,000 steps": {"runs": 1000, "steps": 1000},
    "1,000 runs of 1,000 steps of 4 groups": {"runs": 1000, "steps": 1000, "groups_per_step": 4},
}


def seconds(function: Callable[[], object]) -> float:
    """Processor time of one call."""
    started = time.process_time()
    function()
    return time.process_time() - started


def lines_of(runs_dir: Path, at_most: int = 100_000) -> list[bytes]:
    """The first lines of all traces."""
    lines: list[bytes] = []
    for trace in sorted(runs_dir.glob("*/*/trace.jsonl")):
        with trace.open("rb") as file:
            lines += [line for line, _ in zip(file, range(at_most - len(lines)), strict=False)]
    return lines


def read(runs_dir: Path) -> str:
    """Reading alone: rows in the working store, nothing derived or published."""
    memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with duckdb.connect(str(runs_dir / ".results-work.duckdb"), config=ONE_THREAD) as connection:
        create_schema(connection)
        started = time.process_time()
        count = read_sources(connection, runs_dir).lines
        each_s = (time.process_time() - started) / count
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_before) / 1024
    lines = lines_of(runs_dir)
    json_s = min(seconds(lambda: [json.loads(line) for line in lines]) for _ in range(3)) / len(lines)
    return (
        f"{count:,} lines, {1 / each_s:,.0f} a second, {each_s / json_s:.2f} of json.loads; "
        f"peak memory +{grown:.0f} MiB"
    )


def keep_up(runs_dir: Path) -> str:
    """An ingest that finds nothing new, and one that finds no snapshot."""
    with duckdb.connect(str(runs_dir / ".results-work.duckdb"), config=ONE_THREAD) as connection:
        create_schema(connection)
        read_sources(connection, runs_dir)
        connection.execute("DELETE FROM stale_runs")  # deriving is measured elsewhere
    ingest(runs_dir)
    nothing_new_s = min(seconds(lambda: ingest(runs_dir)) for _ in range(3))
    store_path(runs_dir).unlink()
    started = time.perf_counter()
    with_snapshot_s = seconds(lambda: ingest(runs_dir))
    wall_s = time.perf_counter() - started
    size = store_path(runs_dir).stat().st_size / 2**20
    return (
        f"nothing new {nothing_new_s:.2f} s; snapshot of {size:.0f} MiB "
        f"{with_snapshot_s - nothing_new_s:.2f} s ({wall_s:.2f} s on the clock, with looking for news)"
    )


def measure(name: str) -> None:
    """Print one case."""
    with tempfile.TemporaryDirectory() as folder:
        runs_dir = Path(folder)
        # Written by another process: its memory would hide what reading needs.
        subprocess.run([sys.executable, __file__, name, folder], check=True)
        print(f"{name}: {read(runs_dir) if name in READING else keep_up(runs_dir)}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        write_large_sweep(Path(sys.argv[2]), **(READING | SCALE)[sys.argv[1]])
    elif len(sys.argv) == 2:
        measure(sys.argv[1])
    else:
        for case in (*READING, *SCALE):
            subprocess.run([sys.executable, __file__, case], check=True)
