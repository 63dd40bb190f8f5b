"""`sweepctl logs`."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from factories.written_sweep import WrittenSweep
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl.attempts import append_attempt
from sweepctl.watching import logs
from sweepctl.watching.logs import LogReader, print_log
from trainer.errors import ConfigError


@pytest.fixture
def sweep(tmp_path):
    sweep = WrittenSweep(tmp_path / "runs")
    sweep.run("s0", "succeeded", log=b"one\ntwo\nthree\n")
    return sweep


@pytest.fixture
def shown(sweep, capfdbinary):
    """What `logs` prints to stdout."""

    def show(name, *, follow=False, lines=None, as_json=False):
        print_log(sweep.runs_dir, name, follow=follow, lines=lines, as_json=as_json)
        return capfdbinary.readouterr().out

    return show


@pytest.mark.parametrize("name", ["s0", "Exp1", "demo/s0", "demo/Exp1"])
def test_a_run_has_several_names(shown, name):
    assert shown(name) == b"one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("lines", "text"), [(0, b""), (1, b"three\n"), (2, b"two\nthree\n"), (99, b"one\ntwo\nthree\n")]
)
def test_the_last_lines(shown, lines, text):
    assert shown("s0", lines=lines) == text


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60).map(lambda data: data.replace(b"a", b"\n")), lines=st.integers(0, 6))
def test_the_last_lines_are_those_of_the_whole_log(tmp_path_factory, data, lines):
    log = tmp_path_factory.mktemp("log") / "train.log"
    log.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "_CHUNK_BYTES", 7)
        shown = b"".join(LogReader(log, lines).new())
    parts = data.split(b"\n")
    whole = [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
    assert shown == b"".join(whole[len(whole) - min(lines, len(whole)) :])


def test_of_a_huge_log_only_the_end_is_read(shown, sweep):
    with sweep.paths.run("s0").log.open("wb") as log:
        log.truncate(1 << 40)  # a terabyte of zeros that takes no space
        log.seek(0, os.SEEK_END)
        log.write(b"\none\ntwo\n")
    assert shown("s0", lines=2) == b"one\ntwo\n"
    assert len(shown("s0", lines=3)) < 1 << 24


def test_bytes_that_are_no_text_come_out_as_they_are(shown, sweep):
    garbage = bytes(range(256)) + b"x" * 1_000_000
    sweep.paths.run("s0").log.write_bytes(garbage)
    assert shown("s0") == garbage
    printed = shown("s0", as_json=True).splitlines()
    lines = [json.loads(line)["line"] for line in printed]
    assert lines == [part.decode(errors="replace") for part in garbage.split(b"\n")]


def test_json_is_an_object_a_line(shown, sweep):
    sweep.paths.run("s0").log.write_bytes("größer\r\n\nlast".encode())
    assert [json.loads(line) for line in shown("s0", as_json=True).splitlines()] == [
        {"sweep": "demo", "run": "s0", "line": line} for line in ("größer", "", "last")
    ]


def test_of_sweeps_that_share_a_name_the_latest_is_shown(shown, sweep, capfdbinary):
    older = WrittenSweep(sweep.runs_dir, "older")
    older.run("s0", "succeeded", log=b"old\n")
    os.utime(older.paths.manifest, (1, 1))
    print_log(sweep.runs_dir, "s0", follow=False, lines=None, as_json=False)
    assert capfdbinary.readouterr() == (b"one\ntwo\nthree\n", b"this is demo/s0; there is also older/s0\n")
    assert shown("older/s0") == b"old\n"


AGAIN = "sweepctl run sweeps/demo.yaml --profile cpu --runs-dir {}"


@pytest.mark.parametrize(
    ("planned", "message"),
    [
        ({"infeasible": "2 - 1 = 1 > 0"}, "demo/s1 is infeasible and is not run: 2 - 1 = 1 > 0"),
        ({}, "demo/s1 has not begun; start it with: " + AGAIN),
        ({"state": "pending"}, "demo/s1 has not begun; start it with: " + AGAIN),
        (
            {"state": "skipped", "reason": "enough"},
            "demo/s1 skipped and printed nothing: enough; go on with: " + AGAIN,
        ),
    ],
)
def test_a_run_without_log_says_why(shown, sweep, planned, message):
    sweep.run("s1", **planned)
    with pytest.raises(ConfigError) as raised:
        shown("s1", follow=True)
    assert str(raised.value) == message.format(sweep.runs_dir)


def test_a_failed_start_of_the_engine_names_its_log(shown, sweep):
    sweep.run("s1", "failed", reason="the engine did not start: no memory")
    log = sweep.paths.root / "engine.log"
    log.write_text("no memory")
    with pytest.raises(ConfigError, match=f"see {log}; go on with: .* --retry-failed$"):
        shown("s1")


def test_a_run_that_will_begin_is_waited_for_only_when_asked(shown, sweep):
    sweep.run("s1", "pending")
    sweep.hold()
    with pytest.raises(ConfigError, match="printed nothing yet; wait for it with: sweepctl logs demo/s1 -f"):
        shown("s1")


def test_an_unknown_run_is_one_message(shown):
    with pytest.raises(ConfigError, match=r"no run 's00'; did you mean 's0'\?"):
        shown("s00")
    with pytest.raises(ConfigError, match=r"no sweep 'dem'; did you mean 'demo'\?"):
        shown("dem/s0")


def test_an_arm_of_several_seeds_is_asked_for_seed_by_seed(shown, sweep):
    for seed in range(10):
        sweep.run(f"s9_seed{seed}")
        sweep.manifest["runs"][-1]["label"] = f"Exp9-seed{seed}"
    sweep.write_manifest()
    with pytest.raises(ConfigError) as raised:
        shown("Exp9")
    seeds = ", ".join(f"Exp9-seed{seed}" for seed in range(8))
    assert str(raised.value).endswith(f"no run 'Exp9'; Exp9 has several seeds: {seeds} and 2 more")


def test_of_a_large_sweep_an_error_does_not_list_every_run(shown, sweep):
    for number in range(100):
        sweep.run(f"lr{number}")
    with pytest.raises(ConfigError, match=r"no run 'ü'; there are 10\d; `sweepctl status SWEEP` shows them$"):
        shown("ü")


@pytest.fixture
def following(sweep, monkeypatch):
    """Follow a run to its end while steps are done between two looks."""

    def follow(steps, **options):
        todo = iter(steps)
        monkeypatch.setattr(time, "sleep", lambda _: next(todo)())
        print_log(sweep.runs_dir, "s1", follow=True, lines=None, as_json=False, **options)
        assert list(todo) == []

    return follow


def test_a_log_is_followed_from_before_the_run_to_its_end(sweep, following, capfdbinary):
    sweep.run("s1", "pending")
    sweep.hold()
    log = sweep.paths.run("s1").log

    def begin():
        log.write_bytes(b"begins\n")
        sweep.status("s1", "running")

    def go_on():
        with log.open("ab") as file:
            file.write(b"goes on\n")

    def end():
        go_on()
        sweep.status("s1", "succeeded")

    following([begin, go_on, lambda: None, end])
    out, err = capfdbinary.readouterr()
    assert out == b"begins\ngoes on\ngoes on\n"
    assert err == b"demo/s1 has printed nothing yet; waiting for it\n"


def test_a_log_that_is_replaced_is_followed_from_its_beginning(sweep, following, capfdbinary):
    log = sweep.run("s1", "running", log=b"first attempt\n").log

    def replace():
        log.rename(log.with_name("old.log"))
        log.write_bytes(b"second attempt\n")

    following([lambda: None, replace, log.unlink, lambda: sweep.status("s1", "failed")])
    assert capfdbinary.readouterr().out == b"first attempt\nsecond attempt\n"


def test_a_log_is_followed_while_the_run_waits_for_another_attempt(sweep, following, capfdbinary):
    paths = sweep.run("s1", "failed", log=b"first attempt\n", reason="the loss is not finite")
    sweep.hold(since_unix=time.time() - 60)
    append_attempt(paths, "started")
    append_attempt(paths, "ended", state="failed", reason="the loss is not finite")

    def again():
        sweep.status("s1", "running")
        append_attempt(paths, "started")
        with paths.log.open("ab") as file:
            file.write(b"second attempt\n")

    def end():
        sweep.status("s1", "failed")
        append_attempt(paths, "ended", state="failed", reason="the loss is not finite")

    following([lambda: None, again, end])
    assert capfdbinary.readouterr().out == b"first attempt\nsecond attempt\n"


def test_following_ends_with_sweepctl(sweep, following, capfdbinary):
    sweep.run("s1", "pending", log=b"an earlier attempt\n")
    sweep.hold()
    following([sweep.let_go])
    assert capfdbinary.readouterr().out == b"an earlier attempt\n"


def test_ctrl_c_ends_following_without_a_word(sweep):
    sweep.run("s1", "running", log=b"begins\n")
    command = [sys.executable, "-m", "sweepctl", "logs", "s1", "-f", "--runs-dir", str(sweep.runs_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"begins\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_who_stops_reading_gets_no_traceback(sweep):
    sweep.paths.run("s0").log.write_bytes(b"line\n" * 200_000)
    command = [sys.executable, "-m", "sweepctl", "logs", "s0", "--runs-dir", str(sweep.runs_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=20) == 1
    process.stderr.close()
