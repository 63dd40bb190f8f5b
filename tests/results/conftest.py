"""Shared by the tests of results."""

from pathlib import Path

import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep

from results.ingest import ingest


@pytest.fixture
def ingested(tmp_path: Path) -> Path:
    """A runs directory with a small synthetic sweep, and its store."""
    write_synthetic_sweep(tmp_path, steps=4, questions=10, arms=REFERENCE_ARMS[:2])
    ingest(tmp_path)
    return tmp_path
