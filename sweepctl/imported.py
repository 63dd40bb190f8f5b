"""Sweeps that were not run here say so, and are not run."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.errors import ConfigError
from trainer.paths import SweepPaths


def imported_from(folder: Path) -> dict[str, Any]:
    """The key `imported` of `sweep.json`. Only the folder's name: its path means nothing elsewhere."""
    return {"from": folder.resolve().name, "unix": time.time()}


def origin(manifest: Mapping[str, Any]) -> str | None:
    """The folder that a sweep was imported from, by name; None: it was run here."""
    imported = manifest.get("imported")
    return str(imported.get("from") or "elsewhere") if isinstance(imported, dict) else None


def is_table_row(manifest: Mapping[str, Any], planned: Mapping[str, Any]) -> bool:
    """Whether of an imported run only its results are known, and of its knobs what a table of runs gave.

    The runs of an exported sweep have a `run_id`: of them everything is known.
    """
    imported = origin(manifest) is not None and planned.get("state") != "infeasible"
    return imported and planned.get("run_id") is None


def refuse_imported(sweep: SweepPaths) -> None:
    """A run of the same name would write over what is known of runs that cannot be made again here.

    Raises:
        ConfigError: the sweep was imported.
    """
    try:
        found = json.loads(sweep.manifest.read_bytes())
    except (OSError, ValueError):
        return  # none yet, or none that can be read: whoever reads it next says so
    if isinstance(found, dict) and found.get("imported"):
        raise ConfigError(
            f"{sweep.root}: was imported, not run here; give the spec another name, or move that folder away"
        )
