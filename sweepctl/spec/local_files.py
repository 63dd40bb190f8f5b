"""Paths in a spec: relative ones are meant from the spec's folder, or else from where sweepctl is run."""

import os
from pathlib import Path

PATH_KEYS = frozenset({"model", "task.path", "task.held_out_path"})
"""Keys that name a local file or folder, or something on the hub."""


def absolute(given: str, spec_file: str) -> str:
    """Where a local file or folder lies; what is none, such as a name on the hub, stays as it is.

    A sweep is the same from wherever it is run: a relative path would be another one there, and `models/mine`
    a name on the hub.
    """
    for base in (Path(spec_file).parent, Path()):
        if given and (base / given).exists():
            # Not resolve(): a link may be meant to change.
            return os.path.abspath(base / given)  # noqa: PTH100
    return given
