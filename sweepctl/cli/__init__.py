"""The command line: thin commands over the library, each importing only what it needs."""

# In the order of the groups in `sweepctl --help`.
from sweepctl.cli import sweeps  # isort: skip
from sweepctl.cli import watching  # isort: skip
from sweepctl.cli import results  # isort: skip
from sweepctl.cli import checks  # isort: skip
from sweepctl.cli.app import app, main

__all__ = ["app", "checks", "main", "results", "sweeps", "watching"]
