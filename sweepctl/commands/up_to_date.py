"""The results store, with all that the runs have written so far."""

import os
import sys
from pathlib import Path

from trainer.paths import store_path


def bring_up_to_date(runs_dir: Path) -> None:
    """Read what is new; where nothing may be written, what has been published is looked at as it is.

    Raises:
        IngestError: the files cannot be read into the store.
    """
    from results.ingest import IngestError, ingest  # noqa: PLC0415 - duckdb is slow to import

    try:
        ingest(runs_dir)
    except IngestError as error:
        if os.access(runs_dir, os.W_OK) or not store_path(runs_dir).exists():
            raise
        print(f"the store was not brought up to date: {error}", file=sys.stderr)
