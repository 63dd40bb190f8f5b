"""A run's folder to be mirrored, and what each tool finds of it: (policy version, value) in its own order."""

import json
import os
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil

from trainer.append import AppendFile
from trainer.config import RunConfig, RunFile
from trainer.paths import RunPaths
from trainer.records import RunState, RunStatus

BEGAN = 1_800_000_000.0
SETTINGS = {"max_steps": 8, "optim": {"lr": 1e-6}}


class Run:
    """A run's folder, written as the trainer writes it; `reward_mean` says which attempt a step is of."""

    def __init__(self, root: Path) -> None:
        self.paths, self.attempts = RunPaths(root), 0
        root.mkdir(parents=True)
        config = RunConfig.model_validate(SETTINGS)
        file = RunFile(
            sweep="sw", run_name="s0", run_id=config.run_id({}), profile="cpu", tags=("blue",), config=config
        )
        self.paths.config.write_text(file.model_dump_json())

    def attempt(
        self, *, start: int, until: int, resumed: bool = False, held_out: tuple[int, ...] = ()
    ) -> None:
        """Steps that make the versions start + 1 to until; a second of run time each."""
        self.attempts += 1
        began = {"kind": "run_started", "t": float(start), "unix_time": BEGAN + 100 * (self.attempts - 1)}
        lines = [began, *([{"kind": "resumed", "from_step": start}] if resumed else [])]
        for version in range(start, until + 1):
            value = self.attempts + version / 100
            if version > start:
                lines.append({"kind": "span", "lane": "learner", "name": "learn", "step": version - 1})
                lines.append(step(version, value))
            if version in held_out:
                lines.append({"kind": "eval", "version": version, "accuracy": value})
        self.write(*lines)

    def write(self, *lines: dict) -> None:
        trace = AppendFile(self.paths.trace)
        for line in lines:
            t = float(line.get("policy_version", line.get("version", 0)))
            record = {"v": 1, "attempt": self.attempts, "t": t} | line
            trace.write_line(json.dumps(record, separators=(",", ":")).encode())
        trace.close()

    def status(self, state: RunState) -> None:
        status = RunStatus(state=state, attempt=1, heartbeat=time.time(), max_steps=8)
        self.paths.status.write_text(status.model_dump_json())

    def progress(self, name: str) -> dict:
        path = self.paths.root / "mirrors" / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else {"step": -1}


def step(version: int, reward: float) -> dict:
    return {"kind": "step", "step": version - 1, "policy_version": version, "reward_mean": reward, "kl": None}


def in_tensorboard(run: Run, tag: str = "train/reward_mean") -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 4)) for event in tensorboard(run).Scalars(tag)]


def tensorboard(run: Run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(run.paths.root / "mirrors" / "tensorboard"))
    accumulator.Reload()
    return accumulator


def in_wandb(run: Run, tag: str = "train/reward_mean") -> list[tuple[int, float]]:
    rows = []
    for record in wandb_records(run):
        if record.WhichOneof("record_type") == "history":
            row = {"/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            rows += [(row["policy_version"], row[tag])] if tag in row else []
    return rows


def wandb_records(run: Run) -> list:
    """All records of all offline files, oldest first: LevelDB's log format after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record as WandbRecord

    found = []
    for path in sorted((run.paths.root / "mirrors").glob("wandb/offline-run-*/*.wandb")):
        data, at, payload = path.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            _, size, kind = struct.unpack_from("<IHB", data, at)
            payload += data[at + 7 : at + 7 + size]
            at += 7 + size
            if kind in {1, 4}:  # the whole record, or its last part
                found.append(WandbRecord.FromString(payload))
                payload = b""
    return found


def in_trackio(run: Run, tag: str = "train/reward_mean") -> list[tuple[int, float]]:
    database = sqlite3.connect(Path(os.environ["TRACKIO_DIR"]) / "sw.db")
    try:
        rows = database.execute(
            "SELECT step, metrics FROM metrics WHERE run_name = 's0' ORDER BY id"
        ).fetchall()
    finally:
        database.close()
    return [(at, value[tag]) for at, text in rows if tag in (value := json.loads(text))]


READERS = {"tensorboard": in_tensorboard, "wandb": in_wandb, "trackio": in_trackio}


def mirror(run: Run, name: str, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "sweepctl.mirrors", name, str(run.paths.root), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen, expected: int = 0) -> str:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == expected, output
    return output


def wait_until(condition, process: subprocess.Popen | None = None) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
