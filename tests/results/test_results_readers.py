"""One writer and four reading processes at once: no lock error, no torn read, nothing ever goes missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from factories.sweep_factory import write_synthetic_sweep

from results.ingest import ingest

ROOT = Path(__file__).parents[2]
READERS = 4
PUBLISHED = 10
"""At least so often: twice for each of the five traces."""

WRITER = """
import sys, time
from pathlib import Path
from results.ingest import ingest
runs, lines, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
least = int(sys.argv[4])
traces = {path.name: path.read_bytes().splitlines(keepends=True) for path in lines.iterdir()}
snapshots, at, end = 0, 0, time.monotonic() + seconds
while time.monotonic() < end or snapshots < least:
    for name, whole in traces.items():
        with (runs / "staleness" / name / "trace.jsonl").open("ab") as file:
            file.writelines(whole[at : at + 5])
            file.write(whole[at + 5][:20])  # a torn line, whole the next time
            file.flush()
            snapshots += ingest(runs).published
            file.write(whole[at + 5][20:])
    at += 6
print(snapshots)
"""

READER = """
import json, sys, time
from pathlib import Path
from results.store import Store
store, seen, rounds = Store(Path(sys.argv[1])), [], 0
print("ready", flush=True)
while not Path(sys.argv[2]).exists():
    # What one ingest writes together: rows, how far the file was read, and what is derived of them.
    frame = store.query('''
        SELECT (SELECT count(*) FROM dispatches) AS dispatches, (SELECT count(*) FROM groups) AS groups,
            (SELECT count(*) FROM steps) AS steps, (SELECT count(*) FROM spans) AS spans,
            (SELECT count(*) FROM syncs) AS syncs, (SELECT count(*) FROM attempts) AS attempts,
            (SELECT count(*) FROM checkpoints) AS checkpoints, (SELECT count(*) FROM finishes) AS finishes,
            (SELECT sum(byte_offset)::BIGINT FROM files WHERE kind = 'trace') AS bytes,
            (SELECT coalesce(sum(steps_done), 0)::BIGINT FROM run_summary) AS summed,
            (SELECT count(*) FROM quarantine) + (SELECT count(*) FROM stale_runs) AS undone
    ''')
    rounds += 1
    row = {name: int(frame[name].iloc[0]) for name in frame}
    if not seen or row != seen[-1]:
        seen.append(row)
    time.sleep(float(sys.argv[3]))
print(json.dumps({"seen": seen, "rounds": rounds}))
"""


def read_while_writing(tmp_path, seconds, steps, pause):
    """Lets them run, each reader with a pause in seconds; what each saw, and how often was published."""
    runs, lines, stop = tmp_path / "runs", tmp_path / "lines", tmp_path / "stop"
    folder = write_synthetic_sweep(runs, steps=steps, questions=10)
    lines.mkdir()
    for trace in folder.glob("*/trace.jsonl"):
        trace.rename(lines / trace.parent.name)
        trace.touch()
    ingest(runs)

    def start(code, *arguments):
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    readers = [start(READER, runs, stop, pause) for _ in range(READERS)]
    try:
        assert [reader.stdout.readline() for reader in readers] == ["ready\n"] * READERS
        writer = start(WRITER, runs, lines, seconds, PUBLISHED)
        published, _ = writer.communicate(timeout=seconds + 120)
        assert writer.returncode == 0
    finally:
        stop.touch()
        said = [reader.communicate(timeout=60)[0] for reader in readers]
    assert [reader.returncode for reader in readers] == [0] * READERS
    return [json.loads(text) for text in said], int(published)


def check(tmp_path, *, seconds, steps, pause):
    readers, published = read_while_writing(tmp_path, seconds, steps, pause)
    assert published >= PUBLISHED
    assert sum(len(reader["seen"]) for reader in readers) > READERS, "they read while it was written"
    for reader in readers:
        seen = reader["seen"]
        for row in seen:
            assert row["summed"] == row["steps"] and row["undone"] == 0
        for name in seen[0]:
            counts = [row[name] for row in seen]
            assert counts == sorted(counts), name
    # Equal offsets mean equal rows, whoever read them and when.
    by_bytes = {}
    for row in (row for reader in readers for row in reader["seen"]):
        rows = by_bytes.setdefault(row["bytes"], row)
        assert rows == row


def test_readers_see_only_whole_and_growing_snapshots(tmp_path):
    check(tmp_path, seconds=0, steps=60, pause=0.1)


@pytest.mark.slow
def test_readers_see_only_whole_and_growing_snapshots_for_a_minute(tmp_path):
    check(tmp_path, seconds=60, steps=1000, pause=0.02)
