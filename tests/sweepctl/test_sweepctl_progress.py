"""What is shown while a sweep runs, and the small files around it."""

import io
import json
import os
import stat
import time

import psutil
import pytest
from rich.console import Console

from sweepctl.files import last_lines, write_atomically
from sweepctl.machine import placement, visible_gpus
from sweepctl.states import change_state, read_status, write_status
from sweepctl.watching.display import LiveDisplay, PlainDisplay
from sweepctl.watching.progress import RunProgress, SweepProgress, TraceTail, duration
from trainer.paths import RunPaths
from trainer.records import RunState, RunStatus


def step(number, wall_s=2.0):
    record = {"kind": "step", "step": number, "policy_version": number + 1, "wall_s": wall_s}
    return json.dumps(record | {"reward_mean": 0.5, "off_policy_steps_mean": 1.0}) + "\n"


def test_a_trace_is_read_on_whole_lines_only(tmp_path):
    trace = tmp_path / "trace.jsonl"
    tail = TraceTail(trace)
    assert tail.new_records() == []
    trace.write_text(step(0) + '{"kind": "span", "step": 0}\n' + step(1)[:20])
    assert [record["step"] for record in tail.new_records()] == [0]
    trace.write_text(
        step(0) + '{"kind": "span", "step": 0}\n' + step(1) + '{"kind": "step", torn\n' + step(2)
    )
    assert [record["step"] for record in tail.new_records()] == [1, 2]
    assert tail.new_records() == []


@pytest.fixture
def progress(tmp_path):
    run = RunPaths(tmp_path / "s0")
    run.root.mkdir()
    run.trace.write_text("".join(step(number) for number in range(10)))
    rows = [
        RunProgress("Exp1", "s0", 40, run, "running"),
        RunProgress("Exp2", "s1", 40, RunPaths(tmp_path / "s1"), "pending"),
    ]
    for row in rows:
        row.refresh()
    return SweepProgress("demo", "cpu", rows)


def test_a_new_attempt_starts_the_count_again(progress):
    running = progress.runs[0]
    assert running.step == 10
    with running.paths.trace.open("a") as trace:
        trace.write(json.dumps({"kind": "resumed", "from_step": 0}) + "\n" + step(0, wall_s=8.0))
    running.refresh()
    assert (running.step, running.seconds_per_step) == (1, 8.0)


def test_progress_counts_and_foresees(progress):
    running, waiting = progress.runs
    assert (running.step, running.seconds_per_step, running.reward, running.age) == (10, 2.0, 0.5, 1.0)
    assert running.seconds_left == 60.0
    assert waiting.seconds_left is None
    assert progress.seconds_left == 60.0 + 80.0
    assert "demo [cpu]" in progress.line()
    assert "0/2 runs" in progress.line()


def test_the_live_table_shows_every_run(progress):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with LiveDisplay(console) as display:
        display.show(progress)
        display.say("s9 failed: [not markup]")
    shown = screen.getvalue()
    for text in (
        "Exp1",
        "s0",
        "running",
        "10/40",
        "30.0",
        "0.50",
        "1.00",
        "1m 00s",
        "pending",
        "[not markup]",
    ):
        assert text in shown


def test_plain_lines_are_said_on_changes_and_now_and_then(progress, monkeypatch):
    screen = io.StringIO()
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    display = PlainDisplay(Console(file=screen, width=200))
    display.show(progress)
    first = len(screen.getvalue().splitlines())
    display.show(progress)
    assert len(screen.getvalue().splitlines()) == first  # too soon
    now[0] += 11
    display.show(progress)
    assert "step 10/40, 30.0 steps/min, reward 0.50, age 1.00, about 1m 00s left" in screen.getvalue()
    progress.runs[0].state = "succeeded"
    display.show(progress)
    assert screen.getvalue().splitlines()[-1].endswith("Exp1 s0: succeeded")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.6, "1m 00s"), (200, "3m 20s"), (3720, "1h 02m"), (90000, "25h 00m")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def status(**changes):
    given = {"state": RunState.RUNNING, "attempt": 1, "heartbeat": time.time(), "max_steps": 4}
    return RunStatus(**(given | changes))


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"pid": os.getpid(), "pid_started": psutil.Process().create_time()}, RunState.RUNNING),
        ({"pid": os.getpid(), "pid_started": 1.0}, RunState.INTERRUPTED),
        ({"pid": 2**22 + 1}, RunState.INTERRUPTED),
        ({}, RunState.RUNNING),
        ({"heartbeat": time.time() - 3600}, RunState.INTERRUPTED),
        ({"state": RunState.SUCCEEDED, "pid": 2**22 + 1}, RunState.SUCCEEDED),
    ],
)
def test_a_run_whose_process_is_gone_is_interrupted(tmp_path, changes, state):
    run = RunPaths(tmp_path)
    write_status(run, status(**changes))
    assert read_status(run).state is state


def test_a_change_of_state_keeps_what_the_trainer_said(tmp_path):
    run = RunPaths(tmp_path)
    write_status(run, status(attempt=3, step=2, state=RunState.INTERRUPTED))
    change_state(run, RunState.SKIPPED, "enough", 4)
    found = read_status(run)
    assert (found.attempt, found.step, found.state, found.reason) == (3, 2, RunState.SKIPPED, "enough")


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "file.json"
    write_atomically(path, "one")
    write_atomically(path, "two")
    assert path.read_text() == "two"
    assert [each.name for each in path.parent.iterdir()] == ["file.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "two"
    assert [each.name for each in path.parent.iterdir()] == ["file.json"]


def test_last_lines(tmp_path):
    assert last_lines(tmp_path / "nothing", 3) == ""
    (tmp_path / "log").write_text("\n".join(map(str, range(20000))))
    assert last_lines(tmp_path / "log", 2) == "19998\n19999"


def fake_nvidia(tmp_path, monkeypatch, gpus):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\n" + "".join(f"echo 'GPU {index}: NVIDIA H200 (UUID: x)'\n" for index in range(gpus))
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    visible_gpus.cache_clear()


@pytest.fixture
def forget_gpus():
    yield
    visible_gpus.cache_clear()


@pytest.mark.usefixtures("forget_gpus")
def test_gpus_are_those_that_processes_would_see(tmp_path, monkeypatch):
    fake_nvidia(tmp_path, monkeypatch, 2)
    assert visible_gpus() == 2
    for visible, count in (("", 0), ("-1", 0), ("1", 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        visible_gpus.cache_clear()
        assert visible_gpus() == count


@pytest.mark.usefixtures("forget_gpus")
def test_engine_and_learner_do_not_share_cores_or_gpus(tmp_path, monkeypatch):
    fake_nvidia(tmp_path, monkeypatch, 0)
    for cores, engine, learner in (({0}, (), ()), ({0, 1}, (0,), (1,)), ({2, 3, 4, 5}, (2, 3), (4, 5))):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: cores)
        place = placement()
        assert (place.engine_cores, place.learner_cores, place.learner_device) == (engine, learner, "cpu")
    monkeypatch.setattr("sweepctl.machine.package_version", lambda _: "2.13.0")
    for gpus, engine_device in ((1, None), (2, "1")):
        fake_nvidia(tmp_path, monkeypatch, gpus)
        place = placement()
        assert (place.engine_device, place.learner_device, place.learner_cores) == (
            engine_device,
            "cuda:0",
            (),
        )
