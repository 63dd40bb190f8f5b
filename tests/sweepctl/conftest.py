"""Shared by the tests of sweepctl."""

import sys
from pathlib import Path

import pytest
from fake_sweep import FakeSweep
from mirroring import Run

from sweepctl.cli import main


@pytest.fixture
def fake_sweep(tmp_path: Path, monkeypatch) -> FakeSweep:
    monkeypatch.setenv("SWEEPCTL_LEASE_DIR", str(tmp_path / "leases"))  # beside other tests' sweeps
    return FakeSweep(tmp_path)


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run `sweepctl ARGUMENTS` as the console script does: exit code, stdout, stderr."""

    def run(*arguments, width="160"):
        monkeypatch.setattr(sys, "argv", ["sweepctl", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", width)
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """An empty run; no mirror reaches a network."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in ("WANDB_PROJECT", "WANDB_RUN_ID", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    return Run(tmp_path / "runs" / "sw" / "s0")
