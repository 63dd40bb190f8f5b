"""`sweepctl ingest`: what could not be read is said until it can be."""

import json
import shlex

from factories.sweep_factory import write_synthetic_sweep


def test_quarantine_is_told_also_when_nothing_is_new(cli, tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=2, questions=5)
    traces = sorted(folder.glob("*/trace.jsonl"))[:2]
    whole = [trace.read_bytes() for trace in traces]
    for trace, bad in zip(traces, (b"{\n[]\n", b"\xff\n"), strict=True):
        with trace.open("ab") as file:
            file.write(bad)
    ingest = ("ingest", "--runs-dir", str(tmp_path))
    assert ", 3 unreadable\n" in cli(*ingest)[1]
    store, held = cli(*ingest)[1].splitlines()
    assert "0 lines of 0 files" in store
    what, _, command = held.partition("; see them with: ")
    assert what == "in quarantine: 3 unreadable, of 2 files"
    rows = json.loads(cli(*shlex.split(command)[1:], "--json")[1])
    assert sorted(row["path"] for row in rows) == sorted(
        str(trace.relative_to(tmp_path)) for trace in (traces[0], *traces)
    )
    said = json.loads(cli(*ingest, "--json")[1])
    assert (said["quarantined"], said["quarantine"]) == (0, {"entries": 3, "files": 2, "command": command})
    for trace, content in zip(traces, whole, strict=True):
        trace.write_bytes(content)
    assert "in quarantine" not in cli(*ingest)[1]
    assert json.loads(cli(*ingest, "--json")[1])["quarantine"]["entries"] == 0
