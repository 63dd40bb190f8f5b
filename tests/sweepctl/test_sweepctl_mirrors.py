"""Mirrors of the step records, each with its real package, offline."""

import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl.mirrors.__main__ import MIRRORS
from sweepctl.mirrors.companions import Companions, check
from sweepctl.mirrors.follow import Following
from sweepctl.mirrors.points import GROUPS, HELD_OUT, Point, Rewind, TracePoints
from sweepctl.mirrors.protocol import MirrorError
from sweepctl.mirrors.weights_and_biases import WeightsAndBiases
from trainer.append import AppendFile
from trainer.config import RunConfig, RunFile
from trainer.errors import ConfigError
from trainer.paths import RunPaths
from trainer.records import HeldOut, Record, RunState, RunStatus, Step

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


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "runs" / "sw" / "s0")


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in ("WANDB_PROJECT", "WANDB_RUN_ID", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)


# What each tool itself finds, as (policy version, value) in its own order.


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
every_mirror = pytest.mark.parametrize("name", READERS)


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


# From a trace to points.


def test_every_number_of_a_step_is_shown_in_one_group():
    shown = [name for names in GROUPS.values() for name in names]
    not_shown = {*Record.model_fields, "kind", "step", "policy_version", "start_s"}
    assert sorted(shown) == sorted(set(Step.model_fields) - not_shown)
    assert set(HELD_OUT) == set(HeldOut.model_fields) - {*Record.model_fields, "kind", "version"}


def test_points_carry_the_numbers_that_were_measured_and_when(run):
    run.attempt(start=0, until=2, held_out=(0, 2))
    first, second, third, fourth = TracePoints(run.paths.trace).new()
    assert first == Point(0, True, BEGAN, {"held_out/accuracy": 1.0})
    assert second == Point(1, False, BEGAN + 1, {"train/reward_mean": 1.01, "time/run_s": 1.0})  # kl: none
    assert (third.step, third.held_out, fourth.step, fourth.held_out) == (2, False, 2, True)


def test_a_torn_line_is_read_when_it_is_whole_and_a_damaged_one_is_passed_over(run):
    run.attempt(start=0, until=1)
    points = TracePoints(run.paths.trace)
    assert [point.step for point in points.new()] == [1]
    line = json.dumps({"kind": "step", "t": 2.0, "policy_version": 2, "loss": 0.5}).encode()
    with run.paths.trace.open("ab", buffering=0) as trace:
        trace.write(line[:30])
        assert points.new() == []
        trace.write(line[30:] + b"\n")
        assert [point.metrics["train/loss"] for point in points.new()] == [0.5]
        trace.write(
            b'\xff{"kind":"step"\n[]\n{"kind":"step","t":"x"}\n{"kind":"step","t":3.0}\n' + line + b"\n"
        )
        assert [point.step for point in points.new()] == [2]


def test_a_line_torn_by_a_kill_and_cut_off_by_the_next_attempt_is_no_point(run):
    run.attempt(start=0, until=2)
    points = TracePoints(run.paths.trace)
    points.new()
    with run.paths.trace.open("ab") as trace:
        trace.write(b'{"v":1,"attempt":1,"t":3.0,"kind":"step","policy_ver')
    assert points.new() == []
    AppendFile(run.paths.trace).close()  # what the next attempt does first
    run.attempt(start=1, until=2, resumed=True)
    rewind, point = points.new()
    assert rewind == Rewind(1)
    assert (point.step, point.metrics["train/reward_mean"]) == (2, 2.02)


def test_a_trace_that_was_replaced_is_not_taken_for_the_same(run):
    run.attempt(start=0, until=3)
    points = TracePoints(run.paths.trace)
    points.new()
    run.paths.trace.unlink()
    run.attempt(start=0, until=1)
    with pytest.raises(ConfigError, match="start the mirror again"):
        points.new()


class Paper:
    """Keeps what it is sent as a list, like W&B and Trackio, or takes back, like TensorBoard."""

    def __init__(self, *, rewinds: bool) -> None:
        self.rewinds, self.rows = rewinds, []

    def open(self, run):
        return None

    def log(self, point):
        self.rows.append((point.step, point.held_out, point.metrics.get("train/reward_mean")))

    def rewind(self, step):
        if self.rewinds:
            self.rows = [row for row in self.rows if row[0] <= step]
        return self.rewinds

    def close(self, state):
        pass


@settings(max_examples=60, deadline=None)
@given(data=st.data(), rewinds=st.booleans())
def test_whenever_mirror_and_run_are_killed_each_step_is_there_once(tmp_path_factory, data, rewinds):
    run = Run(tmp_path_factory.mktemp("law") / "run")
    paper, final, version = Paper(rewinds=rewinds), {}, 0
    following = Following("paper", paper, run.paths)
    for attempt in range(1, data.draw(st.integers(1, 4), label="attempts") + 1):
        start = data.draw(st.integers(0, version), label="from")
        version = data.draw(st.integers(start, start + 4), label="until")
        final = {at: value for at, value in final.items() if at <= start}
        final |= {at: attempt + at / 100 for at in range(start + 1, version + 1)}
        run.attempt(start=start, until=version, resumed=attempt > 1, held_out=(start, version))
        if data.draw(st.booleans(), label="mirror keeps up"):
            following.send_new()
        if data.draw(st.booleans(), label="mirror killed"):
            following = Following("paper", paper, run.paths)
    following.close(RunState.SUCCEEDED)
    sent = [(step, held_out) for step, held_out, _ in paper.rows]
    assert sent == sorted(set(sent))
    steps = {step: value for step, held_out, value in paper.rows if not held_out}
    assert set(final) <= set(steps)
    if rewinds:
        assert steps == final  # and of the attempt that counts


# Each tool, with its own files read back.


@every_mirror
def test_a_finished_run_is_sent_whole_and_not_again(run, name):
    run.attempt(start=0, until=3, held_out=(0, 3))
    run.status(RunState.SUCCEEDED)
    finish(mirror(run, name))
    assert READERS[name](run) == [(1, 1.01), (2, 1.02), (3, 1.03)]
    assert READERS[name](run, "held_out/accuracy") == [(0, 1.0), (3, 1.03)]
    finish(mirror(run, name))
    assert READERS[name](run) == [(1, 1.01), (2, 1.02), (3, 1.03)]


@every_mirror
def test_run_and_mirror_killed_and_both_gone_on_with(run, name):
    run.attempt(start=0, until=4)
    first = mirror(run, name, "--follow")
    wait_until(lambda: run.progress(name)["step"] == 4, first)
    wait_until(lambda: len(stored(run, name)) == 4, first)
    first.kill()
    first.wait()
    first.stdout.close()
    run.attempt(start=2, until=6, resumed=True)
    run.status(RunState.SUCCEEDED)
    finish(mirror(run, name))
    again = [(3, 2.03), (4, 2.04)] if name == "tensorboard" else [(3, 1.03), (4, 1.04)]
    assert READERS[name](run) == [(1, 1.01), (2, 1.02), *again, (5, 2.05), (6, 2.06)]


def stored(run: Run, name: str) -> list:
    try:
        return READERS[name](run)
    except (sqlite3.OperationalError, KeyError):
        return []  # not made yet


@pytest.mark.parametrize("name", ["tensorboard", "trackio"])
def test_killed_between_a_point_and_its_note(run, name):
    run.attempt(start=0, until=3)
    run.status(RunState.SUCCEEDED)
    finish(mirror(run, name))
    path = run.paths.root / "mirrors" / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 1}))
    finish(mirror(run, name))
    assert READERS[name](run) == [(1, 1.01), (2, 1.02), (3, 1.03)]


def test_trackio_killed_before_a_row_that_it_noted_was_written(run):
    run.attempt(start=0, until=3)
    run.status(RunState.SUCCEEDED)
    finish(mirror(run, "trackio"))
    run.attempt(start=3, until=5, resumed=True)
    path = run.paths.root / "mirrors" / "trackio.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 4}))
    finish(mirror(run, "trackio"))
    assert [at for at, _ in in_trackio(run)] == [1, 2, 3, 4, 5]


def test_tensorboard_files_of_one_second_are_read_in_their_order(run):
    run.attempt(start=0, until=2)
    Following("tensorboard", MIRRORS["tensorboard"](), run.paths).close(RunState.INTERRUPTED)
    (file,) = (run.paths.root / "mirrors" / "tensorboard").iterdir()
    stamp, host = file.name.split(".")[3:5]
    file.rename(file.with_name(f"events.out.tfevents.{stamp}.{host}.99999999.0"))  # a higher pid
    run.attempt(start=1, until=2, resumed=True)
    Following("tensorboard", MIRRORS["tensorboard"](), run.paths).close(RunState.SUCCEEDED)
    assert in_tensorboard(run) == [(1, 1.01), (2, 2.02)]


def test_tensorboard_has_the_times_and_the_configuration(run):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    run.attempt(start=0, until=2)
    run.attempt(start=2, until=3, resumed=True)
    following = Following("tensorboard", MIRRORS["tensorboard"](), run.paths)
    following.close(RunState.SUCCEEDED)
    times = [event.wall_time for event in tensorboard(run).Scalars("train/reward_mean")]
    assert times == [BEGAN + 1, BEGAN + 2, BEGAN + 100 + 1]
    metadata = tensorboard(run).SummaryMetadata("_hparams_/session_start_info")
    start = HParamsPluginData.FromString(metadata.plugin_data.content).session_start_info
    assert start.group_name == "s0"
    assert start.hparams["optim.lr"].number_value == 1e-6
    assert start.hparams["sweep"].string_value == "sw"


@pytest.mark.parametrize(("state", "code"), [(RunState.SUCCEEDED, 0), (RunState.FAILED, 1)])
def test_wandb_has_names_configuration_and_end_and_nothing_of_the_machine(run, state, code):
    run.attempt(start=0, until=1)
    run.status(state)
    finish(mirror(run, "wandb"))
    records = {record.WhichOneof("record_type"): record for record in wandb_records(run)}
    announced = next(record.run for record in wandb_records(run) if record.HasField("run"))
    assert (announced.project, announced.run_group, announced.display_name) == ("sweepctl", "sw", "s0")
    assert list(announced.tags) == ["blue"]
    run_id = json.loads(run.paths.config.read_text())["run_id"]
    assert announced.run_id == f"{run_id}-{int(BEGAN):x}"
    config = {item.key: json.loads(item.value_json) for item in announced.config.update}
    assert (config["optim.lr"], config["run_id"]) == (1e-6, run_id)
    assert records["exit"].exit.exit_code == code
    assert not {"stats", "environment", "output", "output_raw"} & set(records)
    assert not list((run.paths.root / "mirrors").glob("wandb/offline-run-*/files/*"))


def test_wandb_without_a_login_says_how_to_get_one(run, monkeypatch, tmp_path):
    run.attempt(start=0, until=1)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MirrorError, match=r"wandb login.*WANDB_MODE=offline"):
        Following("wandb", WeightsAndBiases(), run.paths).send_new()


# The process beside a run.


def test_what_is_wrong_is_said_in_a_line(run, tmp_path):
    none = tmp_path / "none"
    command = [sys.executable, "-m", "sweepctl.mirrors", "tensorboard", str(none)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"error: {none / 'config.json'} cannot be read")
    assert answer.stderr.count("\n") == 1
    folder = run.paths.root / "mirrors"
    folder.mkdir()
    (folder / "tensorboard.json").write_text("{")
    assert "remove it to send the whole run again" in finish(mirror(run, "tensorboard"), expected=2)


def test_a_package_that_is_missing_is_named_with_its_extra(tmp_path, monkeypatch):
    assert check(["wandb", "tensorboard", "trackio"]) == []
    (tmp_path / "wandb").mkdir()  # such as W&B leaves where it runs offline
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in ("wandb", "trackio"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert check(["wandb", "trackio"]) == [
        f'the mirror {name} needs a package that is not installed: pip install "sweepctl[{name}]"'
        for name in ("wandb", "trackio")
    ]


class Said(list):
    def __call__(self, message: str) -> None:
        self.append(message)


def script(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "mirror.py"
    path.write_text(text)
    return (sys.executable, "-S", str(path))


def test_companions_send_what_is_there_when_the_run_ends_and_say_nothing(run):
    run.status(RunState.FAILED)  # of an earlier attempt: no reason to end
    said = Said()
    with Companions(["tensorboard", "trackio"], run.paths, said) as companions:
        pids = [companion._process.pid for companion in companions._started]
        run.attempt(start=0, until=2)
        wait_until(lambda: run.progress("tensorboard")["step"] == 2)
        nice = min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in pids} == {nice}
        run.write(step(3, reward=2.03))
    assert said == []
    for name in ("tensorboard", "trackio"):
        assert READERS[name](run) == [(1, 1.01), (2, 1.02), (3, 2.03)]
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_a_run_that_ends_before_its_mirrors_have_started_is_sent_all_the_same(run):
    run.attempt(start=0, until=2)
    said = Said()
    with Companions(["tensorboard", "trackio"], run.paths, said):
        pass
    assert said == []
    assert in_tensorboard(run) == in_trackio(run) == [(1, 1.01), (2, 1.02)]


def test_a_mirror_that_hangs_is_ended_after_its_time_with_how_to_send_the_rest(run, tmp_path):
    command = script(
        tmp_path,
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(os.path.join(sys.argv[2], 'pid'), 'w').write(str(os.getpid()))\n"
        "time.sleep(600)\n",
    )
    said, pid = Said(), run.paths.root / "pid"
    with Companions(["wandb"], run.paths, said, command=command, patience_s=0.3):
        wait_until(lambda: pid.exists() and pid.read_text())
        began = time.monotonic()
    assert 0.3 <= time.monotonic() - began < 5
    wait_until(lambda: not alive(int(pid.read_text())))
    assert said == [
        "the mirror wandb was ended before all was sent; to send it: "
        f"python -m sweepctl.mirrors wandb {run.paths.root}"
    ]


def test_who_is_in_a_hurry_does_not_wait_for_mirrors(run, tmp_path):
    ready = run.paths.root / "ready"
    command = script(
        tmp_path,
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(os.path.join(sys.argv[2], 'ready'), 'w').close()\n"
        "time.sleep(600)\n",
    )
    said = Said()
    with Companions(["wandb"], run.paths, said, hurry=lambda: True, command=command, patience_s=60):
        wait_until(ready.exists)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert len(said) == 1


def test_a_mirror_that_crashes_at_once_is_said_once_with_its_last_line(run, tmp_path):
    command = script(tmp_path, "print('noise')\nraise SystemExit('no room at the inn')\n")
    said = Said()
    with Companions(["wandb", "wandb"], run.paths, said, command=command):
        wait_until(lambda: len(said) == 2)
    log = run.paths.root / "mirrors" / "wandb.log"
    assert said == [
        "the mirror wandb failed (exit code 1), the run does not need it: no room at the inn",
        f"  log: {log}",
    ]


def test_a_mirror_that_cannot_even_start_stops_nothing(run):
    (run.paths.root / "mirrors").write_text("a file where the folder should be")
    said, ran = Said(), False
    with Companions(["wandb"], run.paths, said):
        ran = True
    assert ran
    assert len(said) == 1
    assert "did not start" in said[0]


def test_no_mirror_is_left_when_sweepctl_is_killed(run, tmp_path):
    run.attempt(start=0, until=2)
    text = (
        "import time\nfrom pathlib import Path\nfrom sweepctl.mirrors.companions import Companions\n"
        "from trainer.paths import RunPaths\n"
        f"with Companions(['wandb'], RunPaths(Path({str(run.paths.root)!r})), print) as c:\n"
        "    print(c._started[0]._process.pid, flush=True)\n    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    guard = int(process.stdout.readline())
    wait_until(lambda: run.progress("wandb")["step"] == 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_until(lambda: not alive(guard))
    assert in_wandb(run) == [(1, 1.01), (2, 1.02)]  # it was let finish


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
