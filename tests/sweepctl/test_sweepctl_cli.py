"""The commands: what goes to stdout, the exit codes, and what is not imported."""

import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_sweep import FakeSweep
from typer.testing import CliRunner

from sweepctl.cli import app

REPOSITORY = Path(__file__).parents[2]
STALENESS = str(REPOSITORY / "sweeps" / "staleness.yaml")
BAD = Path(__file__).parent / "specs" / "bad"


def test_every_command_has_help():
    for command in ("run", "plan", "validate", "status", "logs", "report", "ingest", "schema"):
        result = CliRunner().invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert "Usage:" in result.output


def test_version(cli):
    code, out, _ = cli("--version")
    assert code == 0
    assert out.startswith("sweepctl ")


def test_python_m(tmp_path):
    command = [sys.executable, "-m", "sweepctl", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("sweepctl ")


def test_a_runs_dir_that_cannot_be_written_is_said(cli, tmp_path):
    (tmp_path / "runs").write_text("a file")
    code, _, err = cli("run", STALENESS, "--profile", "cpu", "--runs-dir", str(tmp_path / "runs"))
    assert code == 2
    assert err == (
        f"error: {tmp_path}/runs/staleness: cannot be written to: Not a directory; "
        "name a folder that you may write to with --runs-dir\n"
    )


def test_what_the_system_refuses_is_one_message(cli, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "runs/fake/sweep.json")

    monkeypatch.setattr("sweepctl.watching.status.find_sweep", full)
    code, out, err = cli("status")
    assert (code, out) == (1, "")
    assert err == (
        "error: runs/fake/sweep.json: No space left on device; "
        "check the path, its permissions and the space left, and run the command again\n"
    )


def test_validate(cli):
    code, out, err = cli("validate", STALENESS)
    assert (code, err) == (0, "")
    assert out == "staleness [gpu]: 5 runs, 1 infeasible\nstaleness [cpu]: 5 runs, 1 infeasible\n"


def test_validate_json(cli):
    code, out, _ = cli("validate", STALENESS, "--json")
    content = json.loads(out)
    assert (code, content["valid"]) == (0, True)
    assert content["profiles"][0]["infeasible"] == ["s0_opt8_sync16_lr5e-7"]


def test_a_bad_spec_is_one_message_and_exit_code_2(cli):
    code, out, err = cli("validate", str(BAD / "template.yaml"))
    assert (code, out) == (2, "")
    assert (
        err
        == f"error: {BAD}/template.yaml:5: run_name: unknown key 'staleness'; did you mean 'max_staleness'?\n"
    )


def test_a_bad_spec_as_json_has_file_line_and_message(cli):
    code, out, err = cli("validate", str(BAD / "exclude.yaml"), "--json")
    content = json.loads(out)
    assert (code, err, content["valid"]) == (2, "", False)
    assert [problem["line"] for problem in content["problems"]] == [6, 7]


@pytest.mark.parametrize("command", ["run", "plan"])
def test_no_command_takes_a_bad_spec(cli, tmp_path, command):
    code, _, err = cli(command, str(BAD / "infeasible.yaml"), "--runs-dir", str(tmp_path))
    assert code == 2
    assert "every point is infeasible" in err
    assert err.count("k - 1 > max_staleness") == 2
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_is_exit_code_2(cli):
    assert cli("validate")[0] == 2
    assert cli("run", STALENESS, "--colour")[0] == 2


def test_plan_names_arms_and_infeasible_points(cli, tmp_path):
    code, out, _ = cli("plan", STALENESS, "--profile", "cpu", "--json", "--runs-dir", str(tmp_path))
    runs = json.loads(out)["runs"]
    assert code == 0
    assert [run["label"] for run in runs] == ["Exp1", "Exp2", "Exp3", "Exp4", None, "Exp5"]
    assert [run["worst_case_age"] for run in runs] == [0, 1, 0, 1, None, 1]
    assert runs[4]["state"] == "infeasible"
    assert "2 - 1 = 1 > 0" in runs[4]["reason"]


def test_dry_run_shows_the_plan_and_touches_nothing(cli, tmp_path):
    code, out, _ = cli("run", STALENESS, "-n", "--profile", "cpu", "--runs-dir", str(tmp_path))
    assert code == 0
    assert "Exp5" in out
    assert re.search(r"^s0_opt8_sync16_lr\S+ is infeasible", out, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_runs_dir_from_the_environment(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEPCTL_RUNS_DIR", str(tmp_path))
    _, out, _ = cli("plan", STALENESS, "--profile", "cpu", "--json")
    assert json.loads(out)["directory"] == str(tmp_path / "staleness")


def test_several_seeds_share_the_label_of_their_arm(cli, tmp_path):
    spec = tmp_path / "seeds.yaml"
    spec.write_text("{version: 1, name: seeds, parameters: {max_staleness: [0, 1]}, seeds: [3, 4]}")
    _, out, _ = cli("plan", str(spec), "--json", "--runs-dir", str(tmp_path))
    assert [(run["label"], run["run_name"]) for run in json.loads(out)["runs"]] == [
        ("Exp1-seed3", "max_staleness0_seed3"),
        ("Exp2-seed3", "max_staleness1_seed3"),
        ("Exp1-seed4", "max_staleness0_seed4"),
        ("Exp2-seed4", "max_staleness1_seed4"),
    ]


def test_schema_is_json(cli):
    code, out, _ = cli("schema")
    assert code == 0
    assert "parameters" in json.loads(out)["properties"]


class TestAfterARun:
    @pytest.fixture(scope="class")
    def run_once(self, tmp_path_factory):
        with pytest.MonkeyPatch.context() as patch:
            folder = tmp_path_factory.mktemp("after")
            patch.setenv("SWEEPCTL_LEASE_DIR", str(folder / "leases"))
            sweep = FakeSweep(folder)
            sweep.behave(s1="fail")
            sweep.run(evaluate=False)
        return sweep

    @pytest.fixture(autouse=True)
    def sweep(self, run_once):
        """Of one sweep all tests, which put back what they change."""
        self.runs_dir = str(run_once.runs_dir)
        return run_once

    def test_status(self, cli):
        code, out, _ = cli("status", "--runs-dir", self.runs_dir)
        assert code == 0
        assert "s1 failed: the loss is not finite" in out
        code, out, _ = cli("status", "fake", "--json", "--runs-dir", self.runs_dir)
        runs = json.loads(out)["runs"]
        assert [run["state"] for run in runs] == ["succeeded", "failed", *["succeeded"] * 3]
        assert (runs[0]["step"], runs[0]["seconds_per_step"], runs[0]["reward"]) == (4, 0.5, 0.25)

    def test_a_report_that_cannot_be_written_is_said(self, cli, tmp_path):
        code, _, err = cli("report", "--runs-dir", self.runs_dir, "--out", str(tmp_path))
        assert code == 2
        assert err == f"error: --out {tmp_path}: this is a folder; name a file in it\n"

    def test_plan_shows_the_states(self, cli, sweep):
        _, out, _ = cli("plan", str(sweep.spec), "--json", "--runs-dir", self.runs_dir)
        assert [run["state"] for run in json.loads(out)["runs"]][:2] == ["succeeded", "failed"]

    @pytest.mark.parametrize("run", ["s1", "Exp2", "fake/s1"])
    def test_logs(self, cli, run):
        code, out, _ = cli("logs", run, "--runs-dir", self.runs_dir)
        assert code == 0
        assert out == "training s1: fail\nRuntimeError: the loss is not finite\n"

    def test_logs_of_what_is_not_there(self, cli):
        code, _, err = cli("logs", "s11", "--runs-dir", self.runs_dir)
        assert code == 2
        assert "no run 's11'; did you mean 's1'?" in err

    def test_a_broken_status_is_said(self, cli, sweep):
        status = sweep.root / "s0" / "status.json"
        text = status.read_text()
        status.write_text("{")
        code, _, err = cli("status", "--runs-dir", self.runs_dir)
        status.write_text(text)
        assert code == 2
        assert "s0/status.json: not a run's status" in err


def test_where_nothing_was_run_that_is_said(cli, tmp_path):
    for command in (["status"], ["logs", "s0"], ["report"]):
        code, out, err = cli(*command, "--runs-dir", str(tmp_path))
        assert (code, out) == (2, "")
        assert "no sweep was run here; start one with: sweepctl run SPEC" in err


@pytest.mark.parametrize(
    "command", [["--help"], ["validate", STALENESS], ["plan", STALENESS, "--profile", "cpu"]]
)
def test_nothing_heavy_is_imported(command, tmp_path):
    code = f"""
import sys
from sweepctl.cli import app
try:
    app({command!r})
except SystemExit as ended:
    assert not ended.code
heavy = {{"torch", "pandas", "duckdb", "scipy", "numpy", "httpx", "results", "transformers"}}
print("imported:", sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stderr == "imported: []\n"
