"""While an engine starts, its run's files are still; who holds the sweep's lock says what is waited for."""

import time

import pytest
from factories.written_sweep import WrittenSweep

from sweepctl.holder import read_holder, who_runs
from sweepctl.running import lock as lock_module
from sweepctl.running.lock import sweep_lock
from sweepctl.watching.status import sweep_status
from sweepctl.watching.watch import WatchedSweep
from trainer.paths import SweepPaths


@pytest.fixture
def paths(tmp_path):
    return SweepPaths(tmp_path / "demo")


def locked(paths):
    return sweep_lock(paths, print, lambda: None, 0.0)


def test_status_elsewhere_says_what_run_says(fake_sweep):
    """Looked at from where the engine starts, and again when its first run has ended."""
    seen = []
    start = fake_sweep._start

    def looked_at(model, **keywords):
        seen.append(sweep_status(fake_sweep.runs_dir, "fake").summary())
        return start(model, **keywords)

    fake_sweep._start = looked_at
    assert fake_sweep.run(evaluate=False) == 0
    (while_starting,) = seen
    first, second, *_ = while_starting["runs"]
    assert (first["state"], first["note"], first["devices"]) == (
        "pending",
        "waiting for the engine",
        "cores 0,1",
    )
    assert (second["state"], second["note"], second["devices"]) == ("pending", None, None)
    after = sweep_status(fake_sweep.runs_dir, "fake").summary()["runs"]
    assert [(run["state"], run["note"]) for run in after] == [("succeeded", None)] * 5


def test_several_slots_wait_each_for_its_engine(paths):
    with locked(paths) as held:
        with held.waiting_for_engine("s0", "core 0"), held.waiting_for_engine("s1", "core 1"):
            assert who_runs(paths).waiting == {"s0": "core 0", "s1": "core 1"}
        assert who_runs(paths).waiting == {}
        with pytest.raises(KeyError), held.waiting_for_engine("s0", "core 0"):
            raise KeyError
        assert who_runs(paths).waiting == {}


def test_who_waits_is_still_the_same_holder(paths):
    """`sweepctl stop` waits until the holder is another, or none."""
    with locked(paths) as held:
        before = read_holder(paths)
        with held.waiting_for_engine("s0", "core 0"):
            assert read_holder(paths) == before
    assert read_holder(paths) is None


def test_a_full_disk_ends_no_sweep_because_nobody_can_be_told(paths, monkeypatch):
    def full(path, text):
        raise OSError(28, "No space left on device")

    with locked(paths) as held:
        monkeypatch.setattr(lock_module, "write_atomically", full)
        with held.waiting_for_engine("s0", "core 0"):
            pass


def test_watch_sees_the_wait_begin_and_end(tmp_path):
    sweep = WrittenSweep(tmp_path)
    sweep.run("s0", "interrupted", steps=3)
    sweep.run("s1", "pending")
    sweep.hold(since_unix=time.time())
    watched = WatchedSweep(sweep.runs_dir, "demo")
    watched.look()
    sweep.hold(waiting={"s1": "cores 0,1"})
    said = {row.progress.name: (row.said, row.progress.device) for row in watched.look()}
    assert said["s1"] == ("waiting for the engine", "cores 0,1")
    assert watched.progress.activity == "starting the engine"
    assert watched.progress.seconds_left is None
    sweep.hold(waiting={})
    sweep.status("s1", "running")
    assert {row.progress.name: row.said for row in watched.look()}["s1"] == "running"
    assert watched.progress.doing == "training Exp2"


def test_nobody_waits_for_the_engine_of_a_sweep_that_was_killed(tmp_path):
    sweep = WrittenSweep(tmp_path)
    sweep.run("s0", "interrupted", steps=3)
    sweep.hold(waiting={"s0": "cores 0,1"}, pid_started=1.0)
    assert sweep_status(sweep.runs_dir, "demo").rows[0].said == "interrupted"
