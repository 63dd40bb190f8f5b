"""Results as lm-eval leaves them, taken in or refused."""

from pathlib import Path

import numpy as np
import pytest
from factories.sweep_factory import write_lm_eval

from sweepctl.commands.import_ import import_folder
from trainer.errors import ConfigError
from trainer.paths import SweepPaths, samples_path

HERE = Path(__file__).parent
REFERENCE = HERE.parents[2] / "shared" / "reference"
PAGE = REFERENCE / "gsm8k-staleness-sweep.md"
TABLE = HERE / "reference_runs.yaml"
DATE = "2026-01-15T10-00-00.123456"
LATER = "2026-01-16T10-00-00.000001"


def take(folder, runs_dir, *, name="taken", runs=None, as_json=False):
    import_folder(runs_dir, folder, name=name, runs=runs, as_json=as_json)
    return SweepPaths(runs_dir / name)


def refusal(folder, runs_dir, **options):
    """The message of an import that is refused, after which nothing was written."""
    with pytest.raises(ConfigError) as caught:
        take(folder, runs_dir, **options)
    assert not runs_dir.exists() or list(runs_dir.iterdir()) == []
    return str(caught.value)


def answers(seed, chance=0.5, questions=40):
    right = np.random.default_rng(seed).random(questions) < chance
    return {"strict-match": right}


def write_results(folder, name, seed, *, task="gsm8k_cot", shots=0, **changes):
    """`<name>_<n>shot.json` with samples beside it."""
    path = folder / f"{name}_{shots}shot.json"
    (path.parent / "x").mkdir(parents=True, exist_ok=True)  # the factory takes a name from two folders up
    write_lm_eval(path, task, shots, answers(seed), **changes)
    (path.parent / "x").rmdir()
    return path


def write_lm_eval_folder(folder, model_name, seed, *, date=DATE, task="gsm8k_cot", shots=0, unix=1.0):
    """What lm-eval leaves under its --output_path."""
    place = folder / model_name.replace("/", "__")
    made = write_results(place, "made", seed, task=task, shots=shots, model_name=model_name, date=unix)
    samples_path(made).rename(place / f"samples_{task}_{date}.jsonl")
    return made.rename(place / f"results_{date}.json")
