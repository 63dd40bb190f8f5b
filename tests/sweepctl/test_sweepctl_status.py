"""`sweepctl status`, once and with --watch."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import pytest
from factories.written_sweep import WrittenSweep, resumed_line, step_line

from sweepctl.attempts import append_attempt
from sweepctl.plan.plan import load_plan
from sweepctl.running.manifest import write_manifest
from sweepctl.watching import watch
from sweepctl.watching.show import resume_command
from sweepctl.watching.status import read_manifest


@pytest.fixture
def sweep(tmp_path):
    """A run of every kind."""
    sweep = WrittenSweep(tmp_path / "runs", evaluation={"num_fewshot": [0, 4], "tasks": None})
    done = sweep.run("s0", "succeeded", steps=40, devices="cores 0,1")
    second = sweep.run("s1", "running", steps=10, devices="cores 2,3", step=0, attempt=2)
    second.trace.write_text("".join(step_line(number, attempt=2) for number in range(10)))
    sweep.run("s2", "failed", steps=3, reason="the loss is not finite", attempt=2)
    sweep.run("s3", infeasible="2 - 1 = 1 > 0 = max_staleness")
    sweep.run("s4", "skipped", reason="3 runs before it failed one after the other")
    sweep.run("s5")
    result = done.evaluation("step_000040", "arithmetic_cot", 0)
    result.parent.mkdir(parents=True)
    result.write_text("{}")
    result.with_name("arithmetic_cot_0shot.meta.json").write_text("{}")
    return sweep


def status(cli, sweep, *arguments, **options):
    return cli("status", *arguments, "--runs-dir", sweep.runs_dir, **options)


def test_the_table_says_how_every_run_is(cli, sweep):
    code, out, err = status(cli, sweep)
    assert (code, err) == (0, "")
    title, header, *rows = [line.split() for line in out.splitlines()[:8]]
    assert title[:2] == ["demo", "[cpu]"]
    assert header == [
        "run",
        "state",
        "attempt",
        "step",
        "steps/min",
        "reward",
        "age",
        "left",
        "evals",
        "device",
    ]
    assert rows == [
        ["Exp1", "s0", "succeeded", "1", "40/40", "30.0", "0.50", "1.00", "1/2", "cores", "0,1"],
        ["Exp2", "s1", "running", "2", "10/40", "30.0", "0.50", "1.00", "1m", "00s", "cores", "2,3"],
        ["Exp3", "s2", "failed", "2", "3/40", "30.0", "0.50", "1.00"],
        ["s3", "infeasible"],
        ["Exp4", "s4", "skipped", "1", "0/40"],
        ["Exp5", "s5", "pending", "0/40"],
    ]


def test_below_stands_why_runs_are_not_well_and_what_to_do(cli, sweep):
    notes = status(cli, sweep)[1].splitlines()[8:]
    again = f"sweepctl run sweeps/demo.yaml --profile cpu --runs-dir {sweep.runs_dir}"
    assert notes == [
        "1 of 5 done, 1 running, 1 failed, 1 skipped, 1 waiting, 1 infeasible; not being run now",
        "s2 failed: the loss is not finite",
        f"  log: {sweep.paths.root}/s2/train.log",
        "s4 skipped: 3 runs before it failed one after the other",
        "s3 infeasible: 2 - 1 = 1 > 0 = max_staleness",
        f"once the cause is gone: {again} --retry-failed",
        f"what was skipped is run with: {again}",
    ]


def test_who_runs_it_is_said(cli, sweep):
    sweep.hold(since_unix=time.time() - 120)
    out = status(cli, sweep)[1]
    assert "2m 00s so far, about" in out
    assert f"being run by process {os.getpid()} since" in out
    assert "sweepctl status demo --watch" in out
    assert "--retry-failed" not in out  # not while it is being run


@pytest.mark.parametrize("changes", [{"pid": 2**22 + 1}, {"pid_started": 1.0}])
def test_a_holder_that_is_gone_holds_nothing(cli, sweep, changes):
    sweep.hold(**changes)
    assert "not being run now" in status(cli, sweep)[1]


def test_json_has_all_of_it(cli, sweep):
    sweep.hold(since_unix=5.0)
    content = json.loads(status(cli, sweep, "--json")[1])
    assert content["held_by"]["pid"] == os.getpid()
    assert content["held_by"]["since_unix"] == 5.0
    # 60 s for s1, then s5 at the mean pace of 2 s a step: one slot is all that is seen.
    assert content["seconds_left"] == 60.0 + 80.0
    assert content["runs"][1] == {
        "label": "Exp2",
        "run_name": "s1",
        "state": "running",
        "note": None,
        "reason": None,
        "attempt": 2,
        "step": 10,
        "max_steps": 40,
        "seconds_per_step": 2.0,
        "seconds_left": 60.0,
        "reward": 0.5,
        "off_policy_steps": 1.0,
        "devices": "cores 2,3",
        "evaluations": 0,
        "evaluations_expected": 2,
        "log": f"{sweep.paths.root}/s1/train.log",
    }


def test_a_damaged_status_hides_no_other_run(cli, sweep):
    sweep.paths.run("s0").status.write_text("{")
    code, out, err = status(cli, sweep)
    assert code == 2
    assert "unreadable" in out
    assert "s2 failed: the loss is not finite" in out
    assert err == f"error: {sweep.paths.root}/s0/status.json: not a run's status (1 errors); remove it\n"


def test_a_run_that_waits_for_another_attempt_is_no_failed_one(cli, sweep):
    sweep.hold(since_unix=time.time() - 60)
    append_attempt(sweep.paths.run("s2"), "started")
    append_attempt(sweep.paths.run("s2"), "ended", state="failed", reason="the loss is not finite")
    out = status(cli, sweep)[1]
    assert ["Exp3", "s2", "to", "be", "tried", "again"] in [line.split()[:6] for line in out.splitlines()]
    assert "s2 to be tried again: the loss is not finite\n  log: " in out
    assert "1 running, 1 skipped, 2 waiting" in out
    row = json.loads(status(cli, sweep, "--json")[1])["runs"][2]
    assert (row["state"], row["note"]) == ("pending", "to be tried again")
    sweep.let_go()
    assert "s2 failed: the loss is not finite\n" in status(cli, sweep)[1]


def test_the_command_to_go_on_plans_the_same_sweep(fake_sweep):
    """Also where --set changed the spec itself, and with values that a shell would read."""
    given = ["seeds=[0, 1]", "eval.limit=50", "resources.concurrency=2", "max_steps=2"]
    plan = load_plan(fake_sweep.spec, "auto", given, fake_sweep.runs_dir)
    plan.paths.root.mkdir()
    write_manifest(plan, trains=False)
    words = shlex.split(resume_command(read_manifest(plan.paths), fake_sweep.runs_dir))
    assert words[:3] == ["sweepctl", "run", str(fake_sweep.spec)]
    assert [value for option, value in pairwise(words) if option == "--set"] == given


def test_a_damaged_manifest_hides_no_other_sweep(cli, sweep):
    damaged = WrittenSweep(sweep.runs_dir, "damaged").paths.manifest
    damaged.write_text("{")
    word = f"passed over: {damaged}: not a sweep's manifest; `sweepctl run` writes it again\n"
    code, out, err = status(cli, sweep)
    assert (code, out.startswith("demo [cpu]"), err) == (0, True, word)
    assert cli("doctor", "s0", "--runs-dir", sweep.runs_dir)[2] == word
    assert cli("doctor", "demo/s0", "--runs-dir", sweep.runs_dir)[2] == ""
    assert status(cli, sweep, "damaged")[0] == 2


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"runs": [1]}', '{"runs": [{"label": "Exp1"}]}'])
def test_a_damaged_manifest_is_one_message(cli, sweep, text):
    sweep.paths.manifest.write_text(text)
    code, out, err = status(cli, sweep)
    assert (code, out) == (2, "")
    message = "not a sweep's manifest; `sweepctl run` writes it again"
    assert err == f"error: {sweep.paths.manifest}: {message}\n"


def test_a_manifest_of_runs_made_elsewhere_may_say_little(cli, tmp_path):
    sweep = WrittenSweep(tmp_path)
    sweep.manifest = {"name": "demo", "runs": [{"run_name": "s0"}]}
    sweep.write_manifest()
    assert "0/0" in status(cli, sweep)[1]


def test_runs_that_no_plan_names_are_said(cli, sweep):
    for name in ("old_name", "s0.set-aside-20260101-000000"):
        (sweep.paths.root / name).mkdir()
        (sweep.paths.root / name / "config.json").write_text("{}")
    assert "not of this plan, and left alone: old_name\n" in status(cli, sweep)[1]


def test_a_failed_start_of_the_engine_names_its_log(cli, tmp_path):
    sweep = WrittenSweep(tmp_path)
    sweep.run("s0", "failed", reason="the engine did not start: it ended with code 1")
    (sweep.paths.root / "engine-2.log").write_text("no memory")
    assert f"  log: {sweep.paths.root}/engine-2.log\n" in status(cli, sweep)[1]


def test_the_end_of_an_engines_log_is_not_told_again(cli, tmp_path):
    sweep = WrittenSweep(tmp_path)
    ended = (
        "the engine did not start: it ended with code 1. Last lines of engine.log:\nTraceback:\n  no memory"
    )
    sweep.run("s0", "failed", reason=ended)
    assert "s0 failed: the engine did not start: it ended with code 1.\n  log: " in status(cli, sweep)[1]
    assert json.loads(status(cli, sweep, "--json")[1])["runs"][0]["reason"] == ended


def test_a_watched_sweep_has_lasted_as_long_as_who_runs_it(sweep):
    watched = watch.WatchedSweep(sweep.runs_dir, "demo")
    watched.look()
    assert "so far" not in watched.progress.times()
    sweep.hold(since_unix=time.time() - 120)
    watched.look()
    assert watched.progress.times().startswith("2m 00s so far")


def test_an_attempt_without_a_step_has_no_time_left(cli, tmp_path):
    """What an earlier attempt took says nothing of when this one's engine has started."""
    sweep = WrittenSweep(tmp_path)
    run = sweep.run("s0", "running", steps=10, attempt=2)
    sweep.hold()
    found = json.loads(status(cli, sweep, "--json")[1])
    assert (found["seconds_left"], found["runs"][0]["seconds_left"], found["runs"][0]["step"]) == (
        None,
        None,
        10,
    )
    with run.trace.open("a") as trace:
        trace.write(resumed_line(10) + step_line(10, attempt=2))
    found = json.loads(status(cli, sweep, "--json")[1])
    assert (found["seconds_left"], found["runs"][0]["seconds_left"]) == (58.0, 58.0)


def test_the_same_reason_is_said_once(cli, tmp_path):
    sweep = WrittenSweep(tmp_path)
    for number in range(9):
        sweep.run(f"s{number}", "skipped", reason="enough")
    assert "s0, s1, s2 and 6 more skipped: enough\n" in status(cli, sweep)[1]


def test_the_latest_sweep_is_shown_and_the_others_named(cli, sweep):
    WrittenSweep(sweep.runs_dir, "older").run("s0", "succeeded")
    os.utime(sweep.runs_dir / "older" / "sweep.json", (1, 1))
    assert status(cli, sweep)[1].splitlines()[-1] == "other sweeps: older (sweepctl status SWEEP)"
    assert status(cli, sweep, "older")[1].startswith("older [cpu]")


def test_a_folder_without_manifest_is_said(cli, sweep):
    (sweep.runs_dir / "imported").mkdir()
    code, _, err = status(cli, sweep, "imported")
    assert (code, "imported: no sweep.json in it" in err) == (2, True)
    assert "no sweep 'demi'; did you mean 'demo'?" in status(cli, sweep, "demi")[2]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_the_terminal(cli, sweep, width):
    out = status(cli, sweep, width=str(width))[1].splitlines()
    assert max(map(len, out[1:8])) <= width
    assert all(run in line for run, line in zip(["s0", "s1", "s2", "s3"], out[2:6], strict=True))


def test_a_thousand_runs_are_shown_soon(cli, tmp_path):
    sweep = WrittenSweep(tmp_path)
    steps = "".join(map(step_line, range(40)))
    for number in range(1000):
        paths = sweep.paths.run(f"s{number}")
        paths.root.mkdir()
        sweep.status(paths.root.name, "succeeded", step=40)
        paths.trace.write_text(steps)
        planned = {"run_name": paths.root.name, "label": f"Exp{number}", "config": {"max_steps": 40}}
        sweep.manifest["runs"].append(planned | {"state": "planned", "reason": None})
    sweep.write_manifest()
    began = time.process_time()
    code, out, _ = status(cli, sweep)
    assert (code, "1000 of 1000 done" in out) == (0, True)
    assert time.process_time() - began < 4.0  # 1 s when nothing else is going on


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(watch, "LOOK_S", 0.01)


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.usefixtures("quick")
def test_watch_goes_on_until_nothing_runs_any_more(cli, sweep):
    looked = []

    def end():
        until(lambda: looked)
        sweep.status("s1", "failed", reason="the disk is full", step=12)

    class Looked(watch.WatchedSweep):
        def look(self):
            looked.append(1)
            return super().look()

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "WatchedSweep", Looked)
        code, out, err = status(cli, sweep, "--watch")
    thread.join()
    assert (code, out) == (0, "")
    assert "Exp2 s1 failed: the disk is full\n" in err
    assert err.splitlines()[-1].endswith("nothing of demo runs any more; sweepctl status demo")


def test_watch_ends_as_status_does_where_a_status_is_damaged(cli, sweep):
    sweep.status("s1", "succeeded")
    sweep.paths.run("s0").status.write_text("{")
    code, _, err = status(cli, sweep, "--watch")
    assert code == 2
    assert err.endswith(
        f"error: {sweep.paths.root}/s0/status.json: not a run's status (1 errors); remove it\n"
    )


def test_an_evaluation_after_the_run_is_a_change(sweep):
    watched = watch.WatchedSweep(sweep.runs_dir, "demo")
    watched.look()
    result = sweep.paths.run("s0").evaluation("step_000040", "arithmetic_cot", 4)
    result.write_text("{}")
    assert {row.progress.name: row.evaluations for row in watched.look()} == {"s0": 2, "s1": 0}


def test_a_run_is_not_expected_again_when_who_tried_it_is_gone(sweep):
    sweep.hold(since_unix=time.time() - 60)
    append_attempt(sweep.paths.run("s2"), "ended", state="failed")
    watched = watch.WatchedSweep(sweep.runs_dir, "demo")
    assert {row.progress.name: row.said for row in watched.look()}["s2"] == "to be tried again"
    sweep.let_go()
    assert {row.progress.name: row.said for row in watched.look()}["s2"] == "failed"


def test_a_watched_sweep_is_read_only_where_it_may_have_changed(sweep):
    watched = watch.WatchedSweep(sweep.runs_dir, "demo")
    assert len(watched.look()) == 6
    assert [row.progress.name for row in watched.look()] == ["s1"]
    assert watched.progress.doing == "training Exp2"
    sweep.status("s5", "running")
    assert [row.progress.name for row in watched.look()] == ["s1", "s5"]
    assert (watched.progress.doing, watched.progress.slots) == ("training Exp2, Exp5", 2)
    sweep.run("s6", "pending")  # the manifest is another
    assert [row.progress.name for row in watched.look()] == [f"s{number}" for number in range(7)]
    sweep.status("s1", "succeeded")
    sweep.status("s5", "interrupted")
    watched.look()
    assert not watched.active
    sweep.hold()
    watched.look()
    assert watched.active
    assert watched.progress.doing == "between runs"


@pytest.mark.usefixtures("quick")
def test_watch_json_is_a_line_for_each_change(cli, sweep, monkeypatch):
    def changes():
        yield
        with sweep.paths.run("s1").trace.open("a") as trace:
            trace.write(resumed_line(10) + step_line(10, wall_s=4.0))
        yield
        sweep.status("s1", "succeeded", step=40)
        yield

    change = changes()
    monkeypatch.setattr(time, "sleep", lambda _: next(change))
    code, out, _ = status(cli, sweep, "--watch", "--json")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["kind"], line.get("run_name")) for line in lines[:7]] == [
        *(("run", f"s{number}") for number in range(6)),
        ("sweep", None),
    ]
    assert [(line.get("run_name"), line.get("step"), line.get("state")) for line in lines[7:]] == [
        ("s1", 11, "running"),
        ("s1", 40, "succeeded"),
        (None, None, None),
    ]
    assert lines[-1]["doing"] == "not being run now"


def test_ctrl_c_ends_watching_well(sweep):
    command = [sys.executable, "-m", "sweepctl", "status", "-w", "--json", "--runs-dir", str(sweep.runs_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert json.loads(process.stdout.readline())["run_name"] == "s0"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
