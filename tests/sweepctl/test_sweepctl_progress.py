"""How far a sweep is by its files, and the small files around it."""

import os
import stat
import time

import psutil
import pytest
from factories.written_sweep import resumed_line, step_line
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl.files import last_lines, write_atomically
from sweepctl.machine import visible_gpus
from sweepctl.states import change_state, read_status, write_status
from sweepctl.watching.progress import (
    WAITING_FOR_ENGINE,
    RunProgress,
    SweepProgress,
    count_hidden,
    count_states,
    duration,
    speed_unit,
)
from sweepctl.watching.trace import BLOCK_BYTES, ENOUGH_BYTES, RECENT_STEPS, TraceTail
from trainer.paths import RunPaths
from trainer.records import RunState, RunStatus


def test_a_trace_is_read_on_whole_lines_only(tmp_path):
    trace = tmp_path / "trace.jsonl"
    tail = TraceTail(trace)
    assert tail.new_records() == []
    begun = step_line(0) + '{"kind": "span", "step": 0}\n'
    trace.write_text(begun + step_line(1)[:20])
    assert [record["step"] for record in tail.new_records()] == [0]
    trace.write_text(begun + step_line(1) + '{"kind": "step", torn\n' + step_line(2))
    assert [record["step"] for record in tail.new_records()] == [1, 2]
    assert tail.new_records() == []


@pytest.fixture
def progress(tmp_path):
    run = RunPaths(tmp_path / "s0")
    run.root.mkdir()
    run.trace.write_text("".join(step_line(number) for number in range(10)))
    rows = [
        RunProgress("Exp1", "s0", 40, run, "running"),
        RunProgress("Exp2", "s1", 40, RunPaths(tmp_path / "s1"), "pending"),
    ]
    for row in rows:
        row.refresh()
    return SweepProgress("demo", "cpu", rows)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_however_a_trace_grows_each_step_is_read_once_and_in_order(tmp_path_factory, data):
    trace = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    count = data.draw(st.integers(0, RECENT_STEPS))
    noise = '{"kind":"span","lane":"learner","step":3}\n'
    whole = "".join(step_line(number) + noise for number in range(count)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    tail, seen = TraceTail(trace), []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        with trace.open("ab") as file:
            file.write(whole[start:end])
        seen += [record["step"] for record in tail.new_records()]
    assert seen == list(range(count))


def test_of_a_long_trace_only_the_end_is_read(tmp_path):
    trace = tmp_path / "trace.jsonl"
    group = '{"kind":"group","step":0,"pad":"' + "x" * 2000 + '"}\n'
    trace.write_text("".join(step_line(number) + group * 10 for number in range(100)))
    assert trace.stat().st_size > 3 * BLOCK_BYTES
    read = [record["step"] for record in TraceTail(trace).new_records()]
    assert read == list(range(100 - RECENT_STEPS, 100))


def test_the_word_of_the_runs_end_is_no_step(tmp_path):
    trace = tmp_path / "trace.jsonl"
    end = '{"v":1,"kind":"run_finished","policy_version":25}\n'
    trace.write_text("".join(map(step_line, range(25))) + end)
    read = [record["step"] for record in TraceTail(trace).new_records()]
    assert read == list(range(25 - RECENT_STEPS, 25))


def test_groups_without_number_after_the_last_step_do_not_hide_it(tmp_path):
    trace = tmp_path / "trace.jsonl"
    trace.write_text(step_line(7) + '{"kind":"group","pad":"' + "x" * 2 * ENOUGH_BYTES + '"}\n')
    assert [record["step"] for record in TraceTail(trace).new_records()] == [7]


def test_a_trace_in_the_place_of_another_begins_again(progress):
    running = progress.runs[0]
    running.paths.trace.rename(running.paths.trace.with_name("set-aside"))
    running.refresh()
    assert running.step == 10
    running.paths.trace.write_text(step_line(0) + step_line(1))
    running.refresh()
    assert running.step == 2


def test_a_new_attempt_starts_the_count_again(progress):
    running = progress.runs[0]
    assert running.step == 10
    with running.paths.trace.open("a") as trace:
        trace.write(resumed_line(0) + step_line(0, wall_s=8.0))
    running.refresh()
    assert (running.step, running.seconds_per_step) == (1, 8.0)


def test_a_resumed_run_keeps_its_step_while_its_engine_starts(progress):
    running = progress.runs[0]
    write_status(running.paths, status(attempt=2, step=0))
    running.refresh()
    assert running.step == 10
    with running.paths.trace.open("a") as trace:
        trace.write(resumed_line(8))
    running.refresh()
    assert (running.step, running.seconds_per_step) == (8, None)
    assert not running.under_way
    write_status(running.paths, status(attempt=2, step=9))  # its trace may be buffered
    running.refresh()
    assert running.step == 9


def test_nothing_is_foreseen_while_no_attempt_has_made_a_step(progress):
    """A resumed run has the steps of earlier attempts: they say nothing of when its engine has started."""
    running, waiting = progress.runs
    assert running.under_way
    for state, attempt in ((RunState.PENDING, 1), (RunState.RUNNING, 2)):
        write_status(running.paths, status(state=state, attempt=attempt))
        running.refresh()
        assert not running.under_way
        assert (running.seconds_left, progress.seconds_left) == (None, None)
    assert progress.times() == "0s so far"
    with running.paths.trace.open("a") as trace:
        trace.write(resumed_line(10) + step_line(10, attempt=2))
    running.refresh()
    assert (running.seconds_left, progress.seconds_left) == (58.0, 58.0 + 80.0)
    running.state = "succeeded"  # and now the engine of the next one starts
    waiting.note = WAITING_FOR_ENGINE
    assert progress.seconds_left is None


def test_of_a_sweep_that_nobody_runs_no_time_is_told(progress):
    progress.began = None
    assert progress.times() == "about 2m 20s left"  # a training that was started by hand goes on
    progress.runs[0].state, progress.doing = "interrupted", "not being run now"
    assert progress.times() == ""
    assert progress.line() == "demo [cpu]: not being run now; 0 of 2 done, 1 interrupted, 1 waiting"


def test_it_is_said_that_an_engine_starts_while_nothing_trains(progress):
    running, waiting = progress.runs
    progress.doing, waiting.note = "training Exp1", WAITING_FOR_ENGINE
    assert progress.activity == "training Exp1"
    running.state, progress.doing = "succeeded", "starting"
    assert progress.activity == "starting the engine"
    assert "demo [cpu]: starting the engine; 1 of 2 done" in progress.line()


def test_progress_counts_and_foresees(progress):
    running, waiting = progress.runs
    assert (running.step, running.seconds_per_step, running.reward, running.age) == (10, 2.0, 0.5, 1.0)
    assert running.seconds_left == 60.0
    assert waiting.seconds_left is None
    assert progress.seconds_left == 60.0 + 80.0
    assert progress.fraction == 10 / 80
    assert progress.row("s1") is waiting
    with pytest.raises(KeyError):
        progress.row("s2")
    assert progress.line() == (
        "demo [cpu]: starting; 0 of 2 done, 1 running, 1 waiting; 0s so far, about 2m 20s left"
    )


def test_runs_side_by_side_take_less_time(progress, tmp_path):
    for number in range(2, 6):
        progress.runs.append(RunProgress("", f"s{number}", 40, RunPaths(tmp_path / f"s{number}"), "pending"))
    progress.slots = 2
    # One slot has 60 s and then 80 and 80 of waiting runs, the other three times 80.
    assert progress.seconds_left == 240.0
    progress.runs[1].state = "failed"
    assert progress.seconds_left == 220.0


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.integers(1, 50), min_size=1, max_size=8), slots=st.integers(1, 4))
def test_the_time_left_is_that_of_some_order_on_the_slots(steps, slots, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    rows = [
        RunProgress("", f"s{index}", count, RunPaths(root / str(index)), "pending")
        for index, count in enumerate(steps)
    ]
    seen = RunPaths(root / "seen")
    seen.root.mkdir()
    seen.trace.write_text(step_line(0, wall_s=2.0))
    last = RunProgress("", "seen", 1, seen, "running")  # at its end, and so no work
    last.refresh()
    left = SweepProgress("demo", None, [last, *rows], slots=slots).seconds_left
    assert max(max(steps) * 2.0, sum(steps) * 2.0 / slots) - 1e-6 <= left
    assert left <= sum(steps) * 2.0 / slots + max(steps) * 2.0


def test_states_are_counted_in_words(progress):
    assert count_states(progress.runs) == "0 of 2 done, 1 running, 1 waiting"
    progress.runs[0].state = "succeeded"
    assert count_hidden([*progress.runs, progress.runs[1]]) == "2 waiting, 1 done"


@pytest.mark.parametrize(
    ("paces", "unit", "numbers"),
    [
        ([], "s", []),
        ([0.25, None], "s", ["4.0", ""]),
        ([1.0, 0.5], "s", ["1.0", "2.0"]),
        ([2.0, 0.5], "min", ["30.0", "120.0"]),
        ([60.0], "min", ["1.0"]),
        ([300.0, 2.0], "h", ["12.0", "1800.0"]),
        ([7200.0], "h", ["0.5"]),
    ],
)
def test_speeds_are_told_in_the_unit_that_suits_the_slowest(tmp_path, paces, unit, numbers):
    runs = []
    for index, pace in enumerate(paces):
        paths = RunPaths(tmp_path / str(index))
        paths.root.mkdir()
        paths.trace.write_text(step_line(0, wall_s=pace) if pace else "")
        runs.append(RunProgress("", str(index), 4, paths, "running"))
        runs[-1].refresh()
    chosen = speed_unit(runs)
    assert (chosen.name, [chosen.number(run.seconds_per_step) for run in runs]) == (unit, numbers)


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
