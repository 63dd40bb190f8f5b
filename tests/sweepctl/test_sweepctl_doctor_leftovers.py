"""`sweepctl doctor`: what processes that are gone have left, and who has which devices."""

import json
import os
import socket
import tempfile
from pathlib import Path

import pytest
from doctoring import ended_pid, statuses
from factories.sweep_factory import write_synthetic_sweep

from results.ingest import ingest
from sweepctl.doctor.finding import Status
from sweepctl.doctor.leases import check_leases
from sweepctl.doctor.leftovers import check_leftovers
from sweepctl.running.flock import LockFile
from sweepctl.running.lease import lease_devices

RUN = "s0_opt16_sync16_lr0.0001"


@pytest.fixture
def short(tmp_path):
    """A folder whose path leaves room for a socket."""
    with tempfile.TemporaryDirectory(prefix="doctor-", dir="/tmp") as folder:
        yield Path(folder)


class TestLeftovers:
    def test_only_what_nobody_owns_is_left_over(self, short, tmp_path):
        gone = ended_pid()
        for name in (f"sweepctl-engine-{os.getpid()}-a", "sweepctl-young", "sweepctl-devices-0", "other"):
            (short / name).mkdir()
        dead = {f"sweepctl-engine-{gone}-a", f"sweepctl-weights-{gone}-b", "sweepctl-dead"}
        for name in dead:
            (short / name).mkdir()
        with socket.socket(socket.AF_UNIX) as left, socket.socket(socket.AF_UNIX) as served:
            left.bind(str(short / "sweepctl-dead" / "engine.sock"))
            served.bind(str(short / "sweepctl-young" / "engine.sock"))
            served.listen()
            found = next(iter(check_leftovers(tmp_path, (short,))))
        assert found.status is Status.WARNING
        assert set(found.advice.split()) - {"rm", "-r"} == {str(short / name) for name in dead}

    def test_nothing_is_left(self, short, tmp_path):
        assert statuses(check_leftovers(tmp_path, (short,))) == {"scratch": Status.OK, "store": Status.OK}

    def test_runs_that_only_seem_to_run(self, short, tmp_path):
        write_synthetic_sweep(tmp_path, steps=2, questions=5, finished=False)
        found = {finding.check: finding for finding in check_leftovers(tmp_path, (short,))}
        assert found["sweep staleness"].status is Status.WARNING
        assert found["sweep staleness"].found.startswith("s1_opt8_sync8_lr5e-05: said to be running")

    def test_a_status_that_is_none(self, short, tmp_path):
        root = write_synthetic_sweep(tmp_path, steps=2, questions=5)
        (root / RUN / "status.json").write_text("{")
        found = [each for each in check_leftovers(tmp_path, (short,)) if each.check == "sweep staleness"]
        assert [each.status for each in found] == [Status.PROBLEM]
        assert str(root / RUN / "status.json") in found[0].found

    def test_evaluations_that_were_cut_off(self, short, tmp_path):
        root = write_synthetic_sweep(tmp_path, steps=2, questions=5)
        gone = ended_pid()
        dead = [
            root / RUN / "eval" / "step_000002" / f".writing-{gone}-abc",
            root / "base_models" / "builtin_tiny" / f".writing-{gone}-abc",
        ]
        for folder in (*dead, dead[0].with_name(f".writing-{os.getpid()}-abc")):
            folder.mkdir(parents=True)
        found = {finding.check: finding for finding in check_leftovers(tmp_path, (short,))}
        assert found["sweep staleness"].status is Status.WARNING
        assert set(found["sweep staleness"].advice.split()) - {"rm", "-r"} == set(map(str, dead))

    def test_the_store_counts_its_sweeps(self, short, tmp_path):
        write_synthetic_sweep(tmp_path, steps=2, questions=5)
        ingest(tmp_path)
        found = {finding.check: finding for finding in check_leftovers(tmp_path, (short,))}
        assert ": 1 sweep, as of " in found["store"].found

    def test_a_store_that_is_none(self, short, tmp_path):
        (tmp_path / "results.duckdb").write_text("no database" * 100)
        found = {finding.check: finding for finding in check_leftovers(tmp_path, (short,))}
        assert found["store"].status is Status.PROBLEM
        assert "--rebuild" in found["store"].advice


class TestLeases:
    def test_a_folder_without_locks(self, tmp_path):
        assert check_leases(tmp_path / "none").found == "none is in use by a sweep"
        assert not (tmp_path / "none").exists()

    def test_only_a_lock_that_is_held_counts(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SWEEPCTL_LEASE_DIR", str(tmp_path))
        lease = {"at_least": 1, "say": print, "while_waiting": lambda: None}
        with lease_devices("core", ["2"], sweep="ended", **lease):
            pass
        with (
            lease_devices("core", ["0", "1"], sweep="first", **lease),
            lease_devices("gpu", ["0"], sweep="second", **lease),
        ):
            found = check_leases(tmp_path)
        me = f"process {os.getpid()}"
        assert found.status is Status.OK
        assert found.found == f"core 0, core 1: sweep first, {me}; gpu 0: sweep second, {me}"
        assert check_leases(tmp_path).found == "none is in use by a sweep"

    def test_one_that_outlived_its_sweep(self, tmp_path):
        lock = LockFile.take(tmp_path / "core-0.lock")
        lock.write(json.dumps({"pid": ended_pid(), "sweep": "gone"}))
        found = check_leases(tmp_path)
        assert found.status is Status.WARNING
        assert found.found.startswith("core 0: sweep gone, process ")
        assert found.found.endswith(" that is gone; something it started still lives")
        assert str(tmp_path / "core-0.lock") in found.advice
        lock.write("{")
        assert check_leases(tmp_path).found == "core 0: in use, nothing says by whom"
        lock.release()
