"""`sweepctl import`."""

import json
from pathlib import Path

from sweepctl.exchange.run_table import read_table
from sweepctl.exchange.take_in import take_in
from sweepctl.exchange.unpack import TakenIn, is_archive, unpack
from trainer.errors import ConfigError
from trainer.paths import LONGEST_NAME, is_sweep_name, slug


def import_folder(
    runs_dir: Path, folder: Path, *, name: str | None, runs: Path | None, as_json: bool
) -> None:
    """Take in results that were made elsewhere, as a sweep of their own.

    Raises:
        ConfigError: no such folder, a name that is taken, or anything wrong with a file; nothing was written.
        StorageError: too little space, or the disk refuses.
    """
    done = _import(runs_dir, folder, _sweep_name(runs_dir, folder, name), runs)
    if as_json:
        summary = {
            "sweep": done.directory.name,
            "directory": str(done.directory),
            "runs": list(done.runs),
            "evaluations": done.evaluations,
            "remarks": list(done.remarks),
        }
        print(json.dumps(summary, indent=2))
        return
    for remark in done.remarks:
        print(f"note: {remark}")
    what = f"{len(done.runs)} run{'' if len(done.runs) == 1 else 's'}, {done.evaluations} evaluation results"
    print(f"{done.directory}: {what}; look at them with: sweepctl report {done.directory.name}")


def _import(runs_dir: Path, folder: Path, name: str, runs: Path | None) -> TakenIn:
    directory = runs_dir / name
    if not is_archive(folder):
        return take_in(folder, directory, read_table(runs) if runs else None)
    if runs is not None:
        raise ConfigError(f"--runs {runs}: {folder} is an exported sweep and says itself what its runs were")
    return unpack(folder, directory)


def _sweep_name(runs_dir: Path, folder: Path, given: str | None) -> str:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; name one with lm-eval's results, or an exported sweep")
    name = slug(folder.resolve().name) if given is None else given
    if not is_sweep_name(name):
        raise ConfigError(
            f"'{name}' cannot be a sweep's name: letters, digits, '.', '_', '-', at most {LONGEST_NAME} of "
            "them, and not the store's file; give one with --name"
        )
    if (runs_dir / name).exists():
        raise ConfigError(f"{runs_dir / name}: is there already; give the import another name with --name")
    return name
