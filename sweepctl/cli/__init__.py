"""The command line: thin commands over the library, each importing only what it needs."""

from sweepctl.cli import checks, results, sweeps, watching
from sweepctl.cli.app import app, main

__all__ = ["app", "checks", "main", "results", "sweeps", "watching"]
