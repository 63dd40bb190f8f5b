"""`sweepctl report`: formats, files, the chosen run and the gate, as a script meets them."""

import csv
import io
import json
import os
import subprocess
import sys

import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep

from results.ingest import IngestError
from results.report.rows import TABLES
from sweepctl.cli import main


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("report") / "runs"
    write_synthetic_sweep(root, steps=8, questions=20, arms=REFERENCE_ARMS[:4])
    return root


@pytest.fixture
def report(runs_dir, monkeypatch, capsys):
    """Runs `sweepctl report` with arguments; gives exit code, stdout and stderr."""

    def go(*arguments):
        monkeypatch.setattr(
            sys, "argv", ["sweepctl", "report", "--runs-dir", str(runs_dir), *map(str, arguments)]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return go


def test_on_a_terminal_by_default(report):
    code, out, err = report()
    assert (code, err) == (0, "")
    assert out.startswith("Sweep staleness · profile synthetic") and "Training speed" in out


@pytest.mark.parametrize("arguments", [["--json"], ["--format", "json"]])
def test_json_on_stdout(report, arguments):
    code, out, _ = report("staleness", *arguments)
    assert code == 0 and json.loads(out)["sweep"] == "staleness"


@pytest.mark.parametrize(
    ("name", "begins"),
    [("r.md", "# Sweep"), ("r.html", "<!DOCTYPE html>"), ("r.json", '{\n  "version"'), ("r.txt", "Sweep st")],
)
def test_the_name_of_a_file_says_its_format(report, tmp_path, name, begins):
    code, out, err = report("--out", tmp_path / name)
    assert (code, out) == (0, "") and f"written to {tmp_path / name}" in err
    assert (tmp_path / name).read_text().startswith(begins)
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing half-written is left"


def test_csv_is_a_file_a_table_in_a_folder(report, tmp_path):
    code, _, err = report("--format", "csv", "--out", tmp_path / "tables")
    assert code == 0 and f"{len(TABLES)} tables written to" in err
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == TABLES.keys()


def test_csv_is_one_table_on_stdout_or_in_a_file(report, tmp_path):
    _, out, _ = report("--format", "csv", "--table", "speedups")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert {row["label"] for row in rows} == {"Exp2", "Exp3", "Exp4"}
    report("--table", "speedups", "--out", tmp_path / "speedups.csv")
    assert (tmp_path / "speedups.csv").read_text() == out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--format", "htlm"], "--format htlm: there is no such format; did you mean 'html'?"),
        (["--format", "html"], "--format html: name a file with --out"),
        (["--format", "csv"], "--format csv: there are several tables; name one with --table, or a folder"),
        (["--out", "tables.csv"], "--out tables.csv: CSV without --table is a file a table; name a folder"),
        (["--json", "--table", "speedups"], "--table speedups: tables are for --format csv, not json"),
        (["--format", "csv", "--table", "speedup"], "--table speedup: no such table; did you mean speedups?"),
        (["--json", "--format", "md"], "--json and --format md: give one of them"),
        (["--out", "nowhere/report.md"], "there is no folder nowhere; make it, or name another file"),
        (["--format", "csv", "--out", "nowhere/tables"], "there is no folder nowhere"),
        (["--baseline", "Exp9"], "--baseline: sweep staleness has no run 'Exp9'; did you mean 'Exp"),
        (
            ["--gate", "all(speedup.prompts_per_z > 1)"],
            "character 5: unknown name 'speedup.prompts_per_z'; did",
        ),
        (
            ["--gate", "all(run.seed < 'a')"],
            "--gate `all(run.seed < 'a')`, character 5: 0 < 'a': these cannot",
        ),
        (["stalenes"], "no sweep 'stalenes'; did you mean 'staleness'?"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_writes_nothing(
    report, tmp_path, monkeypatch, arguments, problem
):
    monkeypatch.chdir(tmp_path)
    code, out, err = report(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and problem in err
    assert list(tmp_path.iterdir()) == []


def test_a_gate_that_passes_is_0_and_one_that_fails_is_3_with_its_rows(report):
    code, out, err = report("--gate", "all(speedup.prompts_per_s > 1)")
    assert code == 0 and out.startswith("Sweep") and "gate passed: all(speedup.prompts_per_s > 1)" in err
    code, out, err = report("--gate", "all(speedup.prompts_per_s > 1.6)", "--json")
    assert code == 3
    first, second = err.splitlines()
    assert first == "gate FAILED: all(speedup.prompts_per_s > 1.6)"
    assert second.startswith("  Exp2 against Exp1: speedup.prompts_per_s = 1.")
    gate = json.loads(out)["gate"]
    assert (gate["passed"], gate["reasons"]) == (False, [second.strip()])


def test_the_report_is_written_though_the_gate_fails(report, tmp_path):
    assert report("--gate", "any(run.seed == 7)", "--out", tmp_path / "r.md")[0] == 3
    assert (tmp_path / "r.md").exists()


def test_a_chosen_run_can_be_asked_for_in_the_gate(report):
    code, out, _ = report(
        "--baseline", "Exp2", "--gate", "count(speedup.step_time > 0, where=against == chosen) == 1"
    )
    assert code == 3, "two of three have other numbers of prompts"
    assert "Speedup against the chosen run" in out


def test_a_link_stays_a_link_and_a_device_a_device(report, tmp_path):
    (tmp_path / "real.md").write_text("old")
    (tmp_path / "link.md").symlink_to(tmp_path / "real.md")
    assert report("--out", tmp_path / "link.md")[0] == 0
    assert (tmp_path / "link.md").is_symlink()
    assert (tmp_path / "real.md").read_text().startswith("# Sweep")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True)
    assert report("--out", pipe, "--format", "md")[0] == 0
    assert reader.communicate(timeout=30)[0].startswith("# Sweep")
    assert pipe.is_fifo()


@pytest.mark.parametrize("option", ["--gate", "--baseline"])
def test_an_option_left_empty_is_not_an_option_left_out(report, option):
    """`--gate "$GATE"` with GATE unset must not pass for ever."""
    code, out, err = report(option, "")
    assert (code, out) == (2, "") and option in err


def test_an_ending_that_no_format_has_is_refused_before_anything_is_written(report, tmp_path):
    code, _, err = report("--out", tmp_path / "report.pdf")
    assert code == 2 and ".html" in err
    assert list(tmp_path.iterdir()) == []
    code, _, err = report("--out", tmp_path)
    assert code == 2 and "name a file in it" in err


def test_a_table_alone_is_csv(report):
    code, out, _ = report("--table", "speedups")
    assert code == 0 and next(csv.reader(io.StringIO(out)))[0] == "label"


def test_results_on_a_disk_that_is_read_only_are_shown_as_they_are(report, runs_dir, monkeypatch):
    assert report()[0] == 0

    def refuse(runs_dir):
        raise IngestError(f"{runs_dir}: Read-only file system")

    monkeypatch.setattr("results.ingest.ingest", refuse)
    assert report()[0] == 1, "the folder can be written: something else is wrong"
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    code, out, err = report()
    assert code == 0 and "Training speed" in out
    assert "not brought up to date" in err and "Read-only" in err
