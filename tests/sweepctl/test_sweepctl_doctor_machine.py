"""`sweepctl doctor`: versions and resources of this machine, all but the engine's round trip."""

import json
import shutil
from pathlib import Path

import pytest

from sweepctl.doctor import engine, resources, software
from sweepctl.doctor.finding import Status
from sweepctl.doctor.software import check_package, read_lock


class TestSoftware:
    def test_the_lock_of_this_checkout_names_what_is_checked(self):
        locked = read_lock(software._REQUIREMENTS / "cpu.lock")
        assert set(software._PACKAGES) <= locked.keys()
        assert locked["vllm"] == "0.32.0"
        assert read_lock(Path("no such lock")) == {}

    @pytest.mark.parametrize(
        ("name", "installed", "locked", "gpus", "status"),
        [
            ("torch", "2.13.0+cpu", "2.13.0", 0, Status.OK),
            ("torch", "2.13.0", "2.13.0", 0, Status.OK),
            ("torch", "2.13.0+cu130", "2.13.0", 1, Status.OK),
            ("torch", "2.13.0+cpu", "2.13.0", 1, Status.PROBLEM),
            ("vllm", "0.32.0+cpu", "0.32.0", 0, Status.OK),
            ("vllm", "0.32.0", "0.32.0", 0, Status.PROBLEM),
            ("vllm", "0.32.0", "0.32.0", 1, Status.OK),
            ("vllm", "", "0.32.0", 0, Status.WARNING),
            ("torch", "", "2.13.0", 0, Status.PROBLEM),
            ("duckdb", "1.0.0", "2.0.0", 0, Status.WARNING),
            ("duckdb", "1.0.0", None, 0, Status.OK),
        ],
    )
    def test_version_and_build_must_suit_lock_and_machine(self, name, installed, locked, gpus, status):
        found = check_package(name, installed, locked, gpus=gpus)
        assert found.status is status
        assert bool(found.advice) is (status is not Status.OK)


class TestResources:
    def found(self, runs_dir):
        return {finding.check: finding for finding in resources.check_resources(runs_dir)}

    def test_every_resource_is_looked_at(self, tmp_path):
        assert self.found(tmp_path).keys() == {
            "gpu",
            "cores",
            "memory",
            "runs",
            "weights",
            "temp",
            "open files",
        }

    def test_cores_that_a_container_may_not_use_up(self, tmp_path, monkeypatch):
        monkeypatch.setattr(resources, "usable_cores", lambda: (0, 1, 2, 3))
        monkeypatch.setattr(resources, "cpu_limit", lambda: 2.0)
        found = self.found(tmp_path)["cores"]
        assert found.status is Status.WARNING
        assert "--devices 0-1" in found.advice

    @pytest.mark.parametrize(
        ("free_gib", "status"), [(1, Status.PROBLEM), (5, Status.WARNING), (100, Status.OK)]
    )
    def test_room_for_runs(self, tmp_path, monkeypatch, free_gib, status):
        usage = shutil.disk_usage(tmp_path)._replace(free=free_gib * 2**30)
        monkeypatch.setattr(resources.shutil, "disk_usage", lambda _: usage)
        assert self.found(tmp_path / "not" / "there")["runs"].status is status

    def test_runs_where_a_file_is_in_the_way(self, tmp_path):
        (tmp_path / "file").write_text("")
        assert self.found(tmp_path / "file" / "runs")["runs"].status is Status.PROBLEM

    def test_a_temporary_folder_too_deep_for_a_socket(self, tmp_path):
        found = resources.check_temp(tmp_path / ("x" * 100))
        assert (found.status, "TMPDIR" in found.advice) == (Status.PROBLEM, True)

    def test_a_temporary_folder_that_cannot_be_written(self):
        found = resources.check_temp(Path("/proc"))
        assert (found.status, "TMPDIR" in found.advice) == (Status.PROBLEM, True)


def test_a_machine_without_the_engine(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "check_engine", lambda: pytest.fail("the engine was started"))
    code, out, _ = cli("doctor", "--no-engine", "--json", "--runs-dir", tmp_path)
    content = json.loads(out)
    assert code == (not content["healthy"])
    assert {"python", "torch", "gpu", "cores", "devices", "scratch", "store"} <= {
        finding["check"] for finding in content["findings"]
    }
