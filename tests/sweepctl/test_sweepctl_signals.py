"""sweepctl as a process that is interrupted or killed: what is left is resumable, and nothing runs on."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sweepctl.running.supervise import StopSignals

FAKE_SWEEP = Path(__file__).with_name("fake_sweep.py")


def wait_for(condition, what, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.05)


@pytest.fixture
def started(fake_sweep, tmp_path):
    """Start the fake sweep as a process, and wait until the arm given hangs in its run."""
    processes = []

    def start(hanging, behaviour="hang"):
        fake_sweep.behave(**{hanging: behaviour})
        process = subprocess.Popen(
            [sys.executable, str(FAKE_SWEEP), str(tmp_path)], stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        trace = fake_sweep.root / hanging / "trace.jsonl"
        wait_for(lambda: trace.exists() and trace.read_text().count("\n") >= 2, f"{hanging} to train")
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


def children(fake_sweep):
    """Every process that the sweep started, by what they wrote themselves."""
    pids = [record["pid"] for record in fake_sweep.call_records()]
    pids += [int(path.read_text()) for path in fake_sweep.root.rglob("grandchild.pid")]
    return [pid for pid in pids if alive(pid)]


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_drains_and_the_next_run_goes_on_there(fake_sweep, started, number):
    process = started("s2")
    process.send_signal(number)
    assert process.wait(60) == 130
    said = process.stderr.read()
    assert "go on with: sweepctl run fake.yaml" in said
    assert "Traceback" not in said
    assert children(fake_sweep) == []
    assert [fake_sweep.state(name) for name in ("s0", "s1", "s2", "s3")] == [
        "succeeded",
        "succeeded",
        "interrupted",
        "pending",
    ]
    fake_sweep.behave()
    assert fake_sweep.run() == 0
    assert fake_sweep.calls() == ["s0", "s1", "s2", "s2", "s3", "s4", "evaluation"]


TOGETHER = """
import os, signal, sys
from sweepctl.running.supervise import StopSignals
sent = [int(number) for number in sys.argv[1:]]
with StopSignals() as stop:
    signal.pthread_sigmask(signal.SIG_BLOCK, sent)
    for number in sent:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, sent)
    print(min(stop.count, 2))
"""


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        ([signal.SIGTERM, signal.SIGTERM, signal.SIGHUP], 1),
        ([signal.SIGINT, signal.SIGTERM], 1),
        ([StopSignals.END_NOW], 2),
        ([StopSignals.END_NOW, signal.SIGINT, signal.SIGTERM], 2),
    ],
)
def test_signals_that_arrive_together_mean_what_each_of_them_means(sent, count):
    """Pending signals are handled in the order of their numbers, and two of a kind are one."""
    numbers = [str(int(number)) for number in sent]
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER, *numbers], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"{count}\n"


def test_two_signals_kill(fake_sweep, started):
    process = started("s0", "stubborn")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None  # it waits for the run to end
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert children(fake_sweep) == []
    assert fake_sweep.state("s0") == "interrupted"


def test_sigkill_leaves_no_child(fake_sweep, started):
    process = started("s1", "grandchild")
    wait_for((fake_sweep.root / "s1" / "grandchild.pid").exists, "the grandchild")
    assert len(children(fake_sweep)) == 2
    process.kill()
    process.wait()
    wait_for(lambda: children(fake_sweep) == [], "every child to end")
    engine = int((fake_sweep.runs_dir / "engines.txt").read_text().split()[0])
    wait_for(lambda: not alive(engine), "the engine to end")
    # The trainer had time to say so itself.
    assert json.loads((fake_sweep.root / "s1" / "status.json").read_text())["state"] == "interrupted"
    fake_sweep.behave()
    assert fake_sweep.run(evaluate=False) == 0
    assert fake_sweep.calls() == ["s0", "s1", "s1", "s2", "s3", "s4"]
