"""One lm-eval call, its output kept as lm-eval wrote it."""

import functools
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lm_eval
from datasets.exceptions import DatasetsError
from jinja2 import UndefinedError
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from torch.utils import collect_env

from trainer.errors import ConfigError, EngineError
from trainer.evaluation.engine_model import EngineModel
from trainer.evaluation_config import Evaluation
from trainer.paths import metadata_path, samples_path
from trainer.scratch import scratch_folder

_TASKS = Path(__file__).parent / "tasks"

# lm-eval records torch's report of the environment with each result, which starts a dozen programs
# (pip among them) and cannot change while this process lives.
collect_env.get_pretty_env_info = functools.cache(collect_env.get_pretty_env_info)


def task_manager() -> TaskManager:
    """Our tasks and lm-eval's GSM8K; reading all of lm-eval's 14,000 task files would take 6 s."""
    gsm8k = Path(lm_eval.__file__).parent / "tasks" / "gsm8k"
    return TaskManager(include_path=[str(_TASKS), str(gsm8k)], include_defaults=False)


def require_data(evaluations: Sequence[Evaluation], tasks: TaskManager) -> None:
    """Refuse problems that cannot be read, before an engine is started for them.

    Raises:
        ConfigError: a file of one's own is no JSONL of questions and answers, or the hub's data set is
            neither in the local cache nor to be had.
    """
    for evaluation in {e.data: e for e in evaluations if e.task == "gsm8k_cot"}.values():
        with tempfile.TemporaryDirectory() as directory:
            try:
                tasks.load([_task(evaluation, tasks, Path(directory))])
            except (OSError, ValueError, DatasetsError, UndefinedError) as error:
                raise ConfigError(_unreadable(evaluation, f"{type(error).__name__}: {error}")) from error


def _unreadable(evaluation: Evaluation, reason: str) -> str:
    if evaluation.data is None:
        return (
            f"the problems of {evaluation.task} could not be had from the hub: {reason}; give a local JSONL "
            "file of its test split as data"
        )
    return (
        f"data: {evaluation.data} cannot be read as the test split of {evaluation.task}: {reason}; give a "
        "JSONL file with question and answer in each line"
    )


def evaluate(
    evaluation: Evaluation, model: EngineModel, tasks: TaskManager, metadata: dict[str, Any]
) -> dict[str, float]:
    """Evaluate the model that `model` holds and write result, samples and metadata.

    The metadata file is written last: where it is, the evaluation is complete.

    Returns:
        Accuracy by filter.

    Raises:
        EngineError: the engine is gone, or lm-eval could not save its result (it only warns).
    """
    output = Path(evaluation.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with _writing(output.parent) as directory:
        tracker = EvaluationTracker(output_path=str(directory / "results.json"))
        results = lm_eval.simple_evaluate(
            model=model,
            tasks=[_task(evaluation, tasks, directory)],
            num_fewshot=evaluation.num_fewshot,
            limit=evaluation.limit,
            gen_kwargs={"max_gen_toks": evaluation.max_completion_tokens},
            evaluation_tracker=tracker,
            task_manager=tasks,
            bootstrap_iters=0,
        )
        _check_shots(evaluation, results["n-shot"][evaluation.task])
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        tracker.save_results_samples(task_name=evaluation.task, samples=samples[evaluation.task])
        metadata_path(output).unlink(missing_ok=True)  # an older result's: it is not complete any more
        _move(directory, "samples_*.jsonl", samples_path(output))
        _move(directory, "results_*.json", output)
    wall_s = time.monotonic() - began
    partial = metadata_path(output).with_suffix(".partial")
    partial.write_text(json.dumps({**metadata, "wall_s": wall_s}, indent=1) + "\n")
    partial.replace(metadata_path(output))
    scores = results["results"][evaluation.task]
    return {key.partition(",")[2]: value for key, value in scores.items() if key.startswith("exact_match,")}


@contextmanager
def _writing(parent: Path) -> Iterator[Path]:
    folder = scratch_folder(".writing-", parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _check_shots(evaluation: Evaluation, used: int) -> None:
    if used != evaluation.num_fewshot:
        raise EngineError(
            f"lm-eval used {used} shots for {evaluation.task} where {evaluation.num_fewshot} were asked for: "
            "the task's own file fixes their number"
        )


def _task(evaluation: Evaluation, tasks: TaskManager, directory: Path) -> str:
    """The task's name, or for data of one's own a task file that includes lm-eval's.

    lm-eval 0.4.13 takes a dict for the whole of a task, not for changes to the one it names.
    """
    if evaluation.data is None:
        return evaluation.task
    path = directory / "task.yaml"
    settings = {
        "include": str(tasks.task_index[evaluation.task].yaml_path),
        "task": evaluation.task,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(Path(evaluation.data).resolve())}},
    }
    path.write_text(json.dumps(settings))  # JSON is YAML
    return str(path)


def _move(directory: Path, pattern: str, target: Path) -> None:
    found = list(directory.glob(pattern))
    if len(found) != 1:
        raise EngineError(f"lm-eval wrote no {pattern} for {target}; its warning in the log above says why")
    found[0].replace(target)
