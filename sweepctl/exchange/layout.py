"""Where everything lies in an archive. The one place that knows its names.

    NOTES.md  sweep.json  spec.yaml  git-<digest>.diff  MANIFEST.sha256
    configs/<run>.json
    traces/<run>/trace.jsonl  rollouts.jsonl  attempts.jsonl  train.log  status.json
    checkpoints/<run>/step_000050/
    eval_results/<task>/<checkpoint>/<run>_<n>shot.json       and .samples.jsonl, .meta.json beside it
    eval_results/<task>/base/<model>_<n>shot.json

Each name can be read back, so an archive needs no index.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from results.files.evaluations import is_result
from results.files.sweeps import BASE_MODELS
from trainer.paths import RunPaths, SweepPaths, metadata_path, samples_path

NOTES, SWEEP, SPEC, CHECKSUMS = "NOTES.md", "sweep.json", "spec.yaml", "MANIFEST.sha256"
CONFIGS, TRACES, CHECKPOINTS, EVALUATIONS = "configs", "traces", "checkpoints", "eval_results"
BASE = "base"
_RESULT = re.compile(r"(?P<first>.+)_(?P<shots>\d+shot(?:\.samples\.jsonl|\.meta\.json|\.json))")


@dataclass(frozen=True)
class Item:
    """One file of a sweep and its place in the archive."""

    source: Path
    target: PurePosixPath
    """Relative to the archive, or on the way back to the sweep's folder."""
    checkpoint: PurePosixPath | None = None
    """The checkpoint's folder in the archive, of a file that belongs to one."""


def sweep_items(sweep: SweepPaths) -> Iterator[Item]:
    """The files of the sweep as a whole that say how to make it again."""
    for path in (sweep.manifest, sweep.spec, *sweep.git_diffs()):
        if path.is_file():
            yield Item(path, PurePosixPath(path.name))


def run_items(run: RunPaths, *, checkpoints: bool) -> Iterator[Item]:
    """The files of a run that are there, without what only a resume needs."""
    name = run.root.name
    if run.config.is_file():
        yield Item(run.config, PurePosixPath(CONFIGS, f"{name}.json"))
    for path in (run.trace, run.rollouts, run.attempts, run.log, run.status):
        if path.is_file():
            yield Item(path, PurePosixPath(TRACES, name, path.name))
    for folder in run.checkpoints() if checkpoints else ():
        place = PurePosixPath(CHECKPOINTS, name, folder.name)
        for path in files_under(folder):
            inside = path.relative_to(folder)
            if inside.parts[0] != "resume":
                yield Item(path, place / inside, place)


def evaluation_items(sweep: SweepPaths, runs: list[RunPaths]) -> Iterator[Item]:
    """lm-eval's files of the base models and the runs: `<task>_<n>shot.json` becomes `<run>_<n>shot.json`."""
    for result in sorted((sweep.root / BASE_MODELS).glob("*/*shot.json")):
        yield from _result_items(result, BASE, result.parent.name)
    for run in runs:
        for result in sorted((run.root / "eval").glob("*/*shot.json")):
            yield from _result_items(result, result.parent.name, run.root.name)


def _result_items(result: Path, checkpoint: str, owner: str) -> Iterator[Item]:
    if not is_result(result):
        return
    for path in (result, samples_path(result), metadata_path(result)):
        named = _RESULT.fullmatch(path.name)
        if named and path.is_file():
            target = PurePosixPath(EVALUATIONS, named["first"], checkpoint, f"{owner}_{named['shots']}")
            yield Item(path, target)


def unpacked(archived: PurePosixPath) -> PurePosixPath | None:
    """Where a file of an archive goes in a sweep's folder; None: it stays behind.

    >>> str(unpacked(PurePosixPath("eval_results/gsm8k_cot/step_000100/s0_4shot.json")))
    's0/eval/step_000100/gsm8k_cot_4shot.json'
    """
    target: tuple[str, ...] = ()
    match archived.parts:
        case (name,) if name not in {NOTES, CHECKSUMS}:
            target = (name,)
        case ("configs", name) if name.endswith(".json"):
            target = (name.removesuffix(".json"), "config.json")
        case ("traces", run, name):
            target = (run, name)
        case ("checkpoints", run, step, *inside) if inside:
            target = (run, "checkpoints", step, *inside)
        case ("eval_results", task, checkpoint, name) if named := _RESULT.fullmatch(name):
            owner = (
                (BASE_MODELS, named["first"]) if checkpoint == BASE else (named["first"], "eval", checkpoint)
            )
            target = (*owner, f"{task}_{named['shots']}")
    return PurePosixPath(*target) if target else None


def files_under(folder: Path) -> Iterator[Path]:
    """All files below a folder, in order of their names. Linked folders are not entered: they may loop."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))


def links_under(folder: Path) -> Iterator[Path]:
    """All links below a folder, to files and to folders."""
    for root, folders, names in os.walk(folder):
        yield from (path for name in sorted([*folders, *names]) if (path := Path(root, name)).is_symlink())
