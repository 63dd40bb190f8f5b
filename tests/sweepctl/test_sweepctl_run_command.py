"""What `run` advises to type next is what was typed, but for what was asked for once."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweepctl.cli import app
from sweepctl.commands import run
from sweepctl.watching.show import resume_command
from trainer.errors import ConfigError

ONCE = ["--retry-failed", "--force", "--rerun-on", "code"]
KEPT = [
    ["--profile", "cpu"],
    ["--set", "max_steps=3"],
    ["--set", "seeds=[0, 1]"],
    ["--only", "max_staleness == 1"],
    ["-j", "2"],
    ["--devices", "0-1"],
    ["--runs-dir", "else where"],
    ["--no-eval"],
    ["--executor", "inline"],
]


@pytest.fixture
def requested(monkeypatch):
    """The request that a command line makes."""
    made = []
    monkeypatch.setattr(run, "run_sweep", lambda request: made.append(request) or 0)

    def request(*words):
        result = CliRunner().invoke(app, ["run", "my sweep.yaml", *words])
        assert result.exit_code == 0, result.output
        return made[-1]

    return request


@pytest.mark.parametrize("option", KEPT, ids=lambda option: option[0])
def test_every_option_that_shapes_the_sweep_is_kept(requested, option):
    assert shlex.split(requested(*option).resume_command()) == ["sweepctl", "run", "my sweep.yaml", *option]


def test_what_was_asked_for_once_is_not(requested):
    assert requested(*ONCE).resume_command() == "sweepctl run 'my sweep.yaml'"


def test_all_of_them_come_back_to_the_same_request(requested):
    first = requested(*(word for option in KEPT for word in option))
    again = requested(*shlex.split(first.resume_command())[3:])
    assert again == first


def test_the_report_is_that_of_the_same_place(requested):
    assert (
        requested("--runs-dir", "else where").report_command("s")
        == "sweepctl report s --runs-dir 'else where'"
    )


def test_status_repeats_the_command_that_is_on_record():
    manifest = {"command": ["sweepctl", "run", "x.yaml", "--only", "Exp1,Exp3"], "spec": {"file": "y.yaml"}}
    assert resume_command(manifest, Path("runs")) == "sweepctl run x.yaml --only Exp1,Exp3"
    assert resume_command(manifest, Path("/r")) == "sweepctl run x.yaml --only Exp1,Exp3 --runs-dir /r"


def test_an_imported_sweep_is_not_run_over(tmp_path):
    """Its runs cannot be made again here."""
    spec = tmp_path / "theirs.yaml"
    spec.write_text("version: 1\nname: theirs\nbase: {max_steps: 2}\n")
    manifest = tmp_path / "runs" / "theirs" / "sweep.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"imported": {"from": "archive"}, "runs": []}')
    result = CliRunner().invoke(app, ["run", str(spec), "--runs-dir", str(tmp_path / "runs")])
    assert isinstance(result.exception, ConfigError)
    assert "was imported, not run here; give the spec another name" in str(result.exception)
    assert manifest.read_text().startswith('{"imported"')
