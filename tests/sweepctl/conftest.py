"""Shared by the tests of sweepctl."""

from pathlib import Path

import pytest
from fake_sweep import FakeSweep


@pytest.fixture
def fake_sweep(tmp_path: Path, monkeypatch) -> FakeSweep:
    monkeypatch.setenv("SWEEPCTL_LEASE_DIR", str(tmp_path / "leases"))  # beside other tests' sweeps
    return FakeSweep(tmp_path)
