"""Several runs at once, several sweeps at once, and stopping them from elsewhere."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from fake_sweep import FakeSweep

from sweepctl.running import worker
from sweepctl.running.stop import stop_sweep
from trainer.errors import SweepctlError

FAKE_SWEEP = Path(__file__).with_name("fake_sweep.py")


def wait_for(condition, what, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.02)


def attempts(sweep, name):
    lines = (sweep.root / name / "attempts.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def spans(sweep):
    """(begin, end, devices) of every attempt."""
    found = []
    for folder in sorted(sweep.root.glob("s?")):
        started, ended = attempts(sweep, folder.name)
        found.append((started["unix_s"], ended["unix_s"], started["devices"]))
    return found


def overlapping(first, second):
    return first[0] < second[1] and second[0] < first[1]


def test_two_slots_run_two_at_a_time_each_on_its_own_cores_and_engine(fake_sweep):
    fake_sweep.behave(**{f"s{i}": "slow" for i in range(5)})
    assert fake_sweep.run(concurrency=2) == 0
    assert {server.cores for server in fake_sweep.servers} == {(0,), (1,)}
    assert len({server.socket for server in fake_sweep.servers}) == 2
    assert all(server.stopped for server in fake_sweep.servers)
    found = spans(fake_sweep)
    pairs = [(a, b) for i, a in enumerate(found) for b in found[:i] if overlapping(a, b)]
    assert pairs
    assert all(a[2] != b[2] for a, b in pairs)
    for name in ("s0", "s4"):
        config = json.loads((fake_sweep.root / name / "config.json").read_text())
        assert attempts(fake_sweep, name)[0]["devices"] == f"core {config['resources']['cores'][0]}"
    sockets = {record["engine"] for record in fake_sweep.call_records() if record["what"] != "evaluation"}
    assert len(sockets) == 2


def test_a_retry_goes_to_whichever_slot_is_free(fake_sweep):
    text = fake_sweep.spec.read_text().replace("{max_attempts: 1}", "{max_attempts: 2, backoff: 0.1}")
    fake_sweep.spec.write_text(text)
    fake_sweep.behave(s0="once:fail", s3="once:vanish")
    assert fake_sweep.run(concurrency=2) == 0
    assert [fake_sweep.state(f"s{i}") for i in range(5)] == ["succeeded"] * 5
    assert sorted(fake_sweep.calls()) == ["evaluation", "s0", "s0", "s1", "s2", "s3", "s3", "s4"]


def test_a_mistake_in_one_slot_ends_the_others_and_is_told(fake_sweep, monkeypatch):
    fake_sweep.behave(s1="stubborn")

    original = worker.write_config

    def broken(plan, run, resources):
        if run.name == "s0":
            wait_for((run.paths.root.parent / "s1" / "trace.jsonl").exists, "the other slot to train")
            raise OSError(28, "No space left on device", str(run.paths.config))
        original(plan, run, resources)

    monkeypatch.setattr(worker, "write_config", broken)
    with pytest.raises(OSError, match="No space left"):
        fake_sweep.run(concurrency=2)
    assert all(server.stopped for server in fake_sweep.servers)


@pytest.fixture
def started():
    """Start sweeps as processes of their own."""
    processes = []

    def start(folder, slots=1):
        process = subprocess.Popen(
            [sys.executable, str(FAKE_SWEEP), str(folder), str(slots)], stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


def test_two_sweeps_at_once_take_turns_with_the_devices(tmp_path, started, monkeypatch):
    monkeypatch.setenv("SWEEPCTL_LEASE_DIR", str(tmp_path / "leases"))
    first, second = FakeSweep(tmp_path / "first"), FakeSweep(tmp_path / "second")
    for sweep in (first, second):
        sweep.behave(**{f"s{i}": "slow" for i in range(5)})
    processes = [started(tmp_path / "first", 2), started(tmp_path / "second", 2)]
    outputs = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert not any(overlapping(a, b) for a in spans(first) for b in spans(second))
    assert sum("in use by sweep fake (process" in output for output in outputs) == 1
    for sweep in (first, second):
        assert sweep.calls().count("evaluation") == 1
        assert len(sweep.calls()) == 6


def test_two_sweeps_with_devices_of_their_own_run_side_by_side(tmp_path, started, monkeypatch):
    monkeypatch.setenv("SWEEPCTL_LEASE_DIR", str(tmp_path / "leases"))
    sweeps = []
    for name, core in (("first", "0"), ("second", "1")):
        sweep = FakeSweep(tmp_path / name)
        sweep.behave(**{f"s{i}": "slow" for i in range(5)})
        (sweep.runs_dir / "devices.json").write_text(json.dumps([core]))
        sweeps.append(sweep)
    processes = [started(tmp_path / name) for name in ("first", "second")]
    outputs = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    first, second = map(spans, sweeps)
    assert any(overlapping(a, b) for a in first for b in second)
    assert {span[2] for span in first} == {"core 0"}
    assert {span[2] for span in second} == {"core 1"}


@pytest.mark.parametrize(("now", "behaviour"), [(False, "hang"), (True, "stubborn")])
def test_stop_from_elsewhere(fake_sweep, tmp_path, started, now, behaviour):
    fake_sweep.behave(s0=behaviour, s1=behaviour)
    process = started(tmp_path, 2)
    traces = [fake_sweep.root / name / "trace.jsonl" for name in ("s0", "s1")]
    wait_for(lambda: all(trace.exists() and trace.stat().st_size for trace in traces), "both to train")
    stopped = stop_sweep(fake_sweep.runs_dir, "fake", now=now)
    assert stopped.pid == process.pid
    assert process.wait(60) == 130
    assert [fake_sweep.state(name) for name in ("s0", "s1", "s2")] == [
        "interrupted",
        "interrupted",
        "pending",
    ]
    assert stop_sweep(fake_sweep.runs_dir, "fake", now=now).pid is None  # nothing runs any more
    fake_sweep.behave()
    assert fake_sweep.run() == 0


def test_a_second_stop_does_not_kill(fake_sweep, tmp_path, started):
    """`stop` asks, however often; only `--now` does not wait."""
    fake_sweep.behave(s0="stubborn")
    process = started(tmp_path)
    wait_for((fake_sweep.root / "s0" / "trace.jsonl").exists, "s0 to train")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    time.sleep(1.0)
    assert process.poll() is None
    assert stop_sweep(fake_sweep.runs_dir, "fake", now=True).pid == process.pid
    assert process.wait(60) == 130


def test_a_closed_terminal_drains(fake_sweep, tmp_path, started):
    fake_sweep.behave(s0="hang")
    process = started(tmp_path)
    wait_for((fake_sweep.root / "s0" / "trace.jsonl").exists, "s0 to train")
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 130
    status = json.loads((fake_sweep.root / "s0" / "status.json").read_text())
    assert status["state"] == "interrupted"


def test_a_holder_that_is_a_zombie_holds_nothing(fake_sweep):
    fake_sweep.run(evaluate=False)
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    began = psutil.Process(child.pid).create_time()
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, "the child to end")
    said = {"pid": child.pid, "pid_started": began, "host": socket.gethostname(), "since_unix": 0.0}
    (fake_sweep.root / ".lock.holder.json").write_text(json.dumps(said))
    assert stop_sweep(fake_sweep.runs_dir, "fake", now=False).pid is None
    child.wait()


@pytest.mark.parametrize("error", [psutil.AccessDenied(1), psutil.NoSuchProcess(1)])
def test_a_holder_that_is_not_ours_or_has_just_ended(fake_sweep, monkeypatch, error):
    fake_sweep.run(evaluate=False)
    me = psutil.Process()
    said = {"pid": me.pid, "pid_started": me.create_time(), "host": socket.gethostname(), "since_unix": 0.0}
    (fake_sweep.root / ".lock.holder.json").write_text(json.dumps(said))

    def refuse(self, number):
        raise error

    monkeypatch.setattr(psutil.Process, "send_signal", refuse)
    if isinstance(error, psutil.NoSuchProcess):
        assert stop_sweep(fake_sweep.runs_dir, "fake", now=False).pid == me.pid
    else:
        with pytest.raises(SweepctlError, match=f"process {me.pid} .* is .*'s, who alone can stop it"):
            stop_sweep(fake_sweep.runs_dir, "fake", now=False)


def test_a_killed_sweep_is_waited_for_until_its_engine_has_gone(fake_sweep, tmp_path, started):
    fake_sweep.behave(s0="hang")
    process = started(tmp_path)
    wait_for((fake_sweep.root / "s0" / "trace.jsonl").exists, "s0 to train")
    guard = psutil.Process(int((fake_sweep.runs_dir / "engines.txt").read_text()))
    guard.suspend()  # an engine that takes its time to end
    process.kill()
    process.wait()
    fake_sweep.behave()
    threading.Timer(2.0, guard.kill).start()
    began = time.monotonic()
    assert fake_sweep.run(patience=20.0) == 0
    assert time.monotonic() - began >= 1.5
    assert any(
        "waiting for what an invocation that was killed has left" in line for line in fake_sweep.display.said
    )


@pytest.mark.parametrize("moment", ["engine", "backoff", "evaluation"])
def test_stopping_while_it_waits(fake_sweep, tmp_path, started, moment):
    """Not only runs can be stopped, and at once."""
    text = fake_sweep.spec.read_text().replace("{max_attempts: 1}", "{max_attempts: 2, backoff: 60s}")
    fake_sweep.spec.write_text(text.replace("[0, 1, 2, 3, 4]", "[0]"))
    fake_sweep.behave(**{"s0": "fail" if moment == "backoff" else "succeed", "evaluation": "hang"})
    (fake_sweep.runs_dir / "slow_engine").write_text(str(moment == "engine"))
    process = started(tmp_path)
    seen = {
        "engine": fake_sweep.runs_dir / "engines.txt",
        "backoff": fake_sweep.root / "s0" / "attempts.jsonl",
        "evaluation": fake_sweep.runs_dir / "calls.jsonl",
    }[moment]
    word = {"engine": "", "backoff": "ended", "evaluation": "evaluation"}[moment]
    wait_for(lambda: seen.exists() and word in seen.read_text(), moment)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert "go on with: sweepctl run" in process.stderr.read()
    (fake_sweep.runs_dir / "slow_engine").unlink()
    fake_sweep.behave()
    fake_sweep.spec.write_text(fake_sweep.spec.read_text().replace("60s", "0.1s"))
    assert fake_sweep.run() == 0


def test_a_holder_that_cannot_be_reached_is_named(fake_sweep):
    fake_sweep.run(evaluate=False)
    said = {"pid": 1, "pid_started": 0.0, "host": "elsewhere", "since_unix": 0.0}
    (fake_sweep.root / ".lock.holder.json").write_text(json.dumps(said))
    with pytest.raises(SweepctlError, match=r"process 1 on elsewhere since .* is out of reach .*; stop it"):
        stop_sweep(fake_sweep.runs_dir, "fake", now=True)
