"""Rows of a dataset: from a local JSONL or Parquet file, or from the Hugging Face hub."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trainer.errors import ConfigError

FILE_TYPES = (".jsonl", ".parquet")


class Row(NamedTuple):
    """One row, and how to find it again."""

    where: str
    columns: Mapping[str, Any]


def is_file(path: str) -> bool:
    """Whether a path means a local file, there or not, rather than a dataset's name on the hub."""
    return path.endswith(FILE_TYPES) or Path(path).is_file()


def read_file(path: Path, key: str) -> Iterator[Row]:
    """Rows of a JSONL or Parquet file, in order; blank lines are no rows.

    Args:
        path: the file.
        key: the setting that names it, for errors.

    Raises:
        ConfigError: it is no such file, or damaged.
    """
    if not path.is_file():
        raise ConfigError(f"{key} {path} is no file")
    if path.suffix == ".jsonl":
        return _jsonl(path)
    if path.suffix == ".parquet":
        return _parquet(path)
    raise ConfigError(f"{key} {path} must end with {' or '.join(FILE_TYPES)}")


def read_hub(name: str, subset: str | None, split: str, advice: str) -> Iterator[Row]:
    """Rows of one split of a dataset on the hub (or of a local folder laid out like one), in order.

    Args:
        name: the dataset's.
        subset: its configuration; None where it has only one.
        split: such as `train`, also `train[:1000]`.
        advice: what to do where there is no network.

    Raises:
        ConfigError: it could not be loaded.
    """
    import datasets  # noqa: PLC0415 - slow to import, and not needed for a local file

    try:
        rows = datasets.load_dataset(name, subset, split=split)
    # Network, cache, names and files: every one of them has exceptions of its own.
    except Exception as error:
        raise ConfigError(
            f"the dataset {name!r} (subset {subset!r}, split {split!r}) could not be loaded from the hub: "
            f"{type(error).__name__}: {' '.join(str(error).split())} | {advice}"
        ) from error
    return (Row(f"{name} ({split}), row {number}", row) for number, row in enumerate(rows))


def _jsonl(path: Path) -> Iterator[Row]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                columns = json.loads(line)
            except ValueError as error:
                raise ConfigError(f"{path}:{number}: every line must be a JSON object ({error})") from error
            if not isinstance(columns, dict):
                raise ConfigError(f"{path}:{number}: every line must be a JSON object, found {line[:60]!r}")
            yield Row(f"{path}:{number}", columns)


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow  # noqa: PLC0415 - slow to import, and not needed for JSONL
    import pyarrow.parquet  # noqa: PLC0415

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise ConfigError(f"{path} cannot be read as Parquet: {error}") from error
    number = 0
    for batch in table.to_batches(max_chunksize=1000):
        for columns in batch.to_pylist():
            yield Row(f"{path}, row {number}", columns)
            number += 1
