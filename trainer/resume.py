"""Checkpoints a run can go on from: all of it is there, or none.

    checkpoints/step_000050/             the policy in Hugging Face format (checkpoint.py)
    checkpoints/step_000050/resume/      run.json       counts, order of prompts, groups that were waiting
                                         learner.pt     float32 weights, optimizer, schedule, random states
                                         engine.safetensors   the engine's weights, where they are older

A checkpoint is written into `step_000050.partial` and then renamed. Replacing one of the same step moves
the old one to `step_000050.old` first, so that a whole one is there at any moment. `resume/` stays with
the newest checkpoint only: it is several times the size of the policy.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError

from trainer.append import storage_error
from trainer.errors import StorageError, TrainingError
from trainer.paths import RunPaths, remove_resume
from trainer.records import Fate
from trainer.records import Group as GroupRecord
from trainer.trace import TraceWriter, read_records

_FORMAT = 1


@dataclass(frozen=True)
class ResumeState:
    """Where a run can go on.

    Attributes:
        version: the learner's policy version.
        engine_version: the engine's.
        rollouts: what `Rollouts.state` gave.
        learner: what `Learner.state_dict` gave.
        engine_weights: the engine's weights where they are not the learner's.
    """

    version: int
    engine_version: int
    rollouts: Mapping[str, Any]
    learner: Mapping[str, Any]
    engine_weights: Path | None


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        paths: the run's files.
        run_id: the run's identity.
        keep: how many checkpoints stay; None: all.
    """

    def __init__(self, paths: RunPaths, run_id: str, keep: int | None) -> None:
        self._paths = paths
        self._run_id = run_id
        self._keep = keep

    @contextmanager
    def writing(self, version: int) -> Iterator[Path]:
        """A folder to write a checkpoint into; it does not count before `commit`.

        Raises:
            StorageError: the disk is full, or the folder cannot be written; nothing of it stays.
        """
        partial = self._partial(version)
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            yield partial
            for path in [*partial.rglob("*"), partial]:
                _sync(path)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(error, OSError):
                raise storage_error(error, partial) from error
            if isinstance(error, SafetensorError):  # how it reports a failed write
                raise StorageError(f"{partial} could not be written ({error}); is the disk full?") from error
            raise

    def commit(self, version: int) -> Path:
        """Make what was written under `version` a checkpoint, and drop what it makes needless."""
        final = self._paths.checkpoint(version)
        old = _old(final)
        try:
            if final.exists():
                shutil.rmtree(old, ignore_errors=True)
                final.rename(old)
            self._partial(version).rename(final)
            _sync(final.parent)
        except OSError as error:
            raise storage_error(error, final) from error
        shutil.rmtree(old, ignore_errors=True)
        others = [path for path in self._paths.checkpoints() if path != final]
        for path in others:
            remove_resume(path)
        for path in others[: max(0, len(others) + 1 - self._keep)] if self._keep else ():
            shutil.rmtree(path, ignore_errors=True)
        return final

    def write_resume(self, folder: Path, state: ResumeState) -> None:
        """Write the state to resume from into a checkpoint's folder."""
        resume = folder / "resume"
        resume.mkdir()
        try:
            torch.save(dict(state.learner), resume / "learner.pt")
        except RuntimeError as error:  # how it reports a failed write
            raise StorageError(f"{resume} could not be written ({error}); is the disk full?") from error
        if state.engine_weights is not None:
            shutil.copyfile(state.engine_weights, resume / "engine.safetensors")
        kept = {
            "format": _FORMAT,
            "run_id": self._run_id,
            "version": state.version,
            "engine_version": state.engine_version,
            "rollouts": state.rollouts,
        }
        (resume / "run.json").write_text(json.dumps(kept))

    def update(self, version: int, rollouts: Mapping[str, Any]) -> None:
        """Replace what the newest checkpoint, which is of this version, keeps of prompts and groups.

        Raises:
            StorageError: it could not be written; the checkpoint is as it was.
        """
        path = self._paths.checkpoint(version) / "resume" / "run.json"
        partial = path.with_suffix(".partial")
        try:
            partial.write_text(json.dumps({**json.loads(path.read_text()), "rollouts": rollouts}))
            _sync(partial)
            partial.replace(path)
            _sync(path.parent)
        except OSError as error:
            raise storage_error(error, path) from error

    def newest(self) -> ResumeState | None:
        """The state of the newest checkpoint that has one; leftovers of a killed process are cleared away.

        Raises:
            TrainingError: it cannot be read, or is another run's.
        """
        self._clear()
        for folder in reversed(self._paths.checkpoints()):
            if (folder / "resume" / "run.json").exists():
                return self._read(folder / "resume")
        return None

    def _read(self, resume: Path) -> ResumeState:
        engine = resume / "engine.safetensors"
        try:
            kept = json.loads((resume / "run.json").read_text())
            if (kept["format"], kept["run_id"]) != (_FORMAT, self._run_id):
                raise TrainingError(
                    f"{resume} is of run {kept['run_id']} (format {kept['format']}), not of {self._run_id} "
                    f"(format {_FORMAT}); move the run's folder away to start over"
                )
            return ResumeState(
                version=kept["version"],
                engine_version=kept["engine_version"],
                rollouts=kept["rollouts"],
                learner=torch.load(resume / "learner.pt", map_location="cpu", weights_only=True),
                engine_weights=engine if engine.exists() else None,
            )
        # Files that anything may have happened to: what they hold raises whatever it likes.
        except (
            OSError,
            ValueError,
            LookupError,
            TypeError,
            EOFError,
            RuntimeError,
            UnpicklingError,
        ) as error:
            raise TrainingError(
                f"{resume} cannot be read ({type(error).__name__}: {error}); remove it to train the run from "
                "the beginning"
            ) from error

    def _clear(self) -> None:
        for partial in self._paths.root.glob("checkpoints/*.partial"):
            shutil.rmtree(partial, ignore_errors=True)
        for old in self._paths.root.glob("checkpoints/*.old"):
            final = old.with_suffix("")
            if final.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.rename(final)

    def _partial(self, version: int) -> Path:
        final = self._paths.checkpoint(version)
        return final.with_name(final.name + ".partial")


def discard_lost(trace: TraceWriter, state: ResumeState | None) -> int:
    """Write the fate `discarded` for every group of earlier attempts that the resumed state does not know of.

    These are groups that were in flight when the state was saved, and all that came after it. Those that
    wait in the state keep their number, and get their fate from this attempt.

    Returns:
        How many.
    """
    undecided = set(state.rollouts["undecided"]) if state else set()
    next_group = state.rollouts["next_group"] if state else 0
    dispatches: dict[int, dict[str, Any]] = {}
    ended: dict[int, dict[str, Any]] = {}
    for record in read_records(trace.path):
        lost = record.get("group") in undecided or record.get("group", -1) >= next_group
        if lost and record["kind"] == "dispatch":
            dispatches[record["group"]] = record
        elif lost and record["kind"] == "group":
            ended[record["group"]] = record
    discarded = 0
    for number, dispatch in dispatches.items():
        end = ended.get(number)
        if end is not None and end["fate"] == Fate.DISCARDED:
            continue
        trace.write(GroupRecord, **_discarded(dispatch, end))
        discarded += 1
    return discarded


def _discarded(dispatch: Mapping[str, Any], end: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is known of a group that was lost: its own line's fields, or else those of its dispatch."""
    if end is not None:
        kept = {key: value for key, value in end.items() if key not in {"v", "kind", "attempt", "t"}}
        return {**kept, "fate": Fate.DISCARDED, "step": None, "consumed_s": None}
    unknown = dict.fromkeys(("version_max", "finished_s", "verified_s", "consumed_s", "step", "reward_mean"))
    return {
        **unknown,
        "group": dispatch["group"],
        "prompt_id": dispatch["prompt_id"],
        "version_min": dispatch["version"],
        "dispatched_s": dispatch["t"],
        "fate": Fate.DISCARDED,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "truncated": 0,
    }


def _old(final: Path) -> Path:
    return final.with_name(final.name + ".old")


def _sync(path: Path) -> None:
    """Return once a file, or the list of files in a folder, is on disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
