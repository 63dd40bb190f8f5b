"""Where everything of a sweep lies. The one place that knows file names."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

LONGEST_NAME = 200
"""Bytes in the name of a run or a sweep: of the 255 that a folder may have, some are left for endings."""

_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_OF_THE_SWEEP = re.compile(
    r"base|base_models|(sweep|timings)\.json|spec\.yaml|git-.*\.diff|.*\.set-aside-.*"
    r"|engine(-\d+)?\.log|evaluation(-\d+)?\.(log|json)"
)
"""What else lies beside the runs of a sweep; and `base`, which labels the untrained model in reports."""
_OF_ALL_SWEEPS = re.compile(r"results\.duckdb(\.wal)?")
"""What else lies beside the sweeps."""
PILOT = "@pilot"
"""Ends the name of a pilot: a sweep of one short run, trained to measure costs. No spec's name has an @."""
_REPEAT = re.compile(r"(?P<slug>.+)@repeat_(?P<repeat>[2-9]|[1-9][0-9]+)")
"""Folder of a base model's second or later evaluation; no slug has an @."""


@dataclass(frozen=True)
class RunPaths:
    """The files of one run."""

    root: Path

    @property
    def config(self) -> Path:
        """The run's whole configuration, a `RunFile`."""
        return self.root / "config.json"

    @property
    def status(self) -> Path:
        """State, attempt, process and heartbeat, a `RunStatus`; replaced atomically."""
        return self.root / "status.json"

    @property
    def trace(self) -> Path:
        """Append-only records, one JSON object a line: the durable truth."""
        return self.root / "trace.jsonl"

    @property
    def rollouts(self) -> Path:
        """Text, tokens, logprobs and rewards of the groups kept."""
        return self.root / "rollouts.jsonl"

    @property
    def attempts(self) -> Path:
        """When each attempt began and how it ended, as sweepctl saw it; append-only."""
        return self.root / "attempts.jsonl"

    @property
    def log(self) -> Path:
        """What the process printed."""
        return self.root / "train.log"

    def checkpoint(self, step: int) -> Path:
        """The checkpoint of a policy version, in Hugging Face format."""
        return self.root / "checkpoints" / f"step_{step:06d}"

    def checkpoints(self) -> list[Path]:
        """The whole checkpoints, oldest first."""
        # One that was cut off while it was written still has another ending.
        return sorted((self.root / "checkpoints").glob("step_*[0-9]"))

    def last_checkpoint(self) -> Path | None:
        """The checkpoint of the highest policy version, if there is one."""
        return self.checkpoints()[-1] if self.checkpoints() else None

    def remove_resume(self) -> None:
        """The run has succeeded: nothing is left to resume."""
        for checkpoint in self.checkpoints():
            remove_resume(checkpoint)

    def evaluation(self, checkpoint: str, task: str, num_fewshot: int) -> Path:
        """lm-eval's own output for one checkpoint (`step_000040`), task and number of shots."""
        return self.root / "eval" / checkpoint / f"{task}_{num_fewshot}shot.json"


@dataclass(frozen=True)
class SweepPaths:
    """The files of one sweep."""

    root: Path

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self.root.name

    @property
    def manifest(self) -> Path:
        """The spec as resolved, the plan, the environment and the state of git."""
        return self.root / "sweep.json"

    @property
    def spec(self) -> Path:
        """The spec as it was written, when it was last run."""
        return self.root / "spec.yaml"

    def git_diff(self, sha256: str) -> Path:
        """What a working tree had beside its last commit, by the digest that the manifest has of it."""
        return self.root / f"git-{sha256[:12]}.diff"

    def git_diffs(self) -> list[Path]:
        """Those of all invocations: runs of earlier ones came from what they say."""
        return sorted(self.root.glob("git-*.diff"))

    @property
    def lock(self) -> Path:
        """Held by the one `sweepctl run` of this sweep."""
        return self.root / ".lock"

    @property
    def lock_holder(self) -> Path:
        """Who holds the lock. Beside it: whoever only tries the lock empties that file."""
        return self.root / ".lock.holder.json"

    def engine_log(self, slot: int = 0) -> Path:
        """What the warm engine of a slot printed."""
        return self.root / ("engine.log" if slot == 0 else f"engine-{slot + 1}.log")

    def evaluation_log(self, engine: int = 0) -> Path:
        """What the evaluations over the sweep's n-th kind of engine printed; most sweeps have one."""
        return self.root / ("evaluation.log" if engine == 0 else f"evaluation-{engine + 1}.log")

    def evaluation_config(self, engine: int = 0) -> Path:
        """The evaluations asked for over the sweep's n-th kind of engine, an `EvaluationFile`."""
        return self.root / ("evaluation.json" if engine == 0 else f"evaluation-{engine + 1}.json")

    def run(self, run_name: str) -> RunPaths:
        """The files of one of its runs."""
        return RunPaths(self.root / run_name)

    def base_evaluation(self, model: str, task: str, num_fewshot: int, repeat: int = 1) -> Path:
        """lm-eval's own output for a base model, before any training; of its first evaluation, or a later."""
        folder = slug(model) if repeat == 1 else f"{slug(model)}@repeat_{repeat}"
        return self.root / "base_models" / folder / f"{task}_{num_fewshot}shot.json"


def is_run_name(name: str) -> bool:
    """Whether a run may be called so: a folder of its sweep, beside the sweep's own files.

    Names that begin with a dot are those of locks, and of files that are still being written.
    """
    return _is_folder_name(name) and _OF_THE_SWEEP.fullmatch(name) is None


def is_sweep_name(name: str) -> bool:
    """Whether a sweep may be called so: a folder of the runs directory, beside the files of all sweeps."""
    return _is_folder_name(name) and _OF_ALL_SWEEPS.fullmatch(name) is None


def pilot_name(sweep: str) -> str:
    """What a sweep's pilot is called: `staleness@pilot`, a folder beside the sweep's own."""
    return sweep + PILOT


def is_pilot(sweep: str) -> bool:
    """Whether a sweep of that name is a pilot."""
    return sweep.endswith(PILOT)


def _is_folder_name(name: str) -> bool:
    return _SAFE.fullmatch(name) is not None and len(name) <= LONGEST_NAME


def remove_resume(checkpoint: Path) -> None:
    """Leave of a checkpoint what transformers loads, and nothing that a run could go on from."""
    (checkpoint / "resume" / "run.json").unlink(missing_ok=True)  # first: without it the rest does not count
    shutil.rmtree(checkpoint / "resume", ignore_errors=True)


def slug(text: str) -> str:
    """A name that is safe as a folder: `Qwen/Qwen3-1.7B-Base` becomes `Qwen_Qwen3-1.7B-Base`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_.")


def base_repeat(folder: str) -> tuple[str, int]:
    """Whose evaluation a folder of `base_models` holds: the model's slug, and the how many-th it is.

    >>> base_repeat("Qwen_Qwen3-1.7B-Base@repeat_2")
    ('Qwen_Qwen3-1.7B-Base', 2)
    """
    named = _REPEAT.fullmatch(folder)
    return (named["slug"], int(named["repeat"])) if named else (folder, 1)


def samples_path(result: Path) -> Path:
    """Where the samples of an evaluation lie: `<task>_<n>shot.samples.jsonl` beside its result."""
    return result.with_name(result.stem + ".samples.jsonl")


def metadata_path(result: Path) -> Path:
    """What was evaluated, and how: `<task>_<n>shot.meta.json`, written last."""
    return result.with_name(result.stem + ".meta.json")


def store_path(runs_dir: Path) -> Path:
    """The published DuckDB snapshot, derived from everything else under the runs directory."""
    return runs_dir / "results.duckdb"
