"""Which evaluations a sweep asks for, and whether they are all there already.

All are always listed; `trainer.evaluation` skips those whose result is there for the same checkpoint
and settings. Nothing at all is started when nothing can have changed since the last time.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sweepctl.files import write_atomically
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.running.engine import EngineKey, engine_key
from sweepctl.spec.model import EvalSpec, EvaluationTask
from trainer.evaluation_config import Evaluation, EvaluationFile
from trainer.paths import slug

_TASKS: dict[str, EvaluationTask] = {"arithmetic": "arithmetic_cot", "gsm8k": "gsm8k_cot"}


def evaluations(plan: Plan, succeeded: Sequence[PlannedRun]) -> dict[EngineKey, EvaluationFile]:
    """One file of evaluations for each engine: base models first, then each run's last checkpoint.

    What repeats the base model's comes last: the engine has then held other weights in between.
    """
    spec = plan.resolved.evaluation
    if spec is None:
        return {}
    runs_of: dict[EngineKey, list[PlannedRun]] = {}
    for run in succeeded:
        runs_of.setdefault(engine_key(run), []).append(run)
    names = base_names(plan)
    files: dict[EngineKey, EvaluationFile] = {}
    for key, runs in runs_of.items():
        output = partial(plan.paths.base_evaluation, names[key])
        wanted = _base(spec, key.model, runs, output) if spec.base_model else []
        for run in runs:
            wanted += _trained(spec, run)
        if spec.base_model:
            wanted += _base_again(spec, key.model, runs, output)
        files[key] = EvaluationFile(engine=key.settings, evaluations=tuple(wanted))
    return files


def base_names(plan: Plan) -> dict[EngineKey, str]:
    """What the untrained model is called under `base_models`, for each kind of engine.

    An accuracy is compared with that of the same engine only. The first kind of a model has its own name.
    """
    names: dict[EngineKey, str] = {}
    for run in plan.feasible:
        key = engine_key(run)
        if key not in names:
            engine = key.settings
            digest = hashlib.sha256(f"{key.model} {engine.model_dump_json()}".encode()).hexdigest()[:6]
            other = f"{key.model}__{engine.name}-{engine.dtype}-{engine.max_model_len}-{digest}"
            taken = slug(key.model) in map(slug, names.values())
            names[key] = other if taken else key.model
    return names


def config_path(plan: Plan, index: int) -> Path:
    """Where the evaluations of the index-th engine are written; most sweeps have one."""
    return plan.paths.evaluation_config(index)


def write_config(path: Path, file: EvaluationFile) -> None:
    """Write what `python -m trainer.evaluation --config` reads."""
    # From here on results may be of these settings or of earlier ones, until all are of these.
    _done_marker(path).unlink(missing_ok=True)
    write_atomically(path, _text(file))


def mark_done(path: Path, file: EvaluationFile) -> None:
    """Note beside the configuration that all it asks for was evaluated."""
    write_atomically(_done_marker(path), _text(file))


def missing(file: EvaluationFile) -> int:
    """How many results are not there yet."""
    return sum(not Path(evaluation.output).is_file() for evaluation in file.evaluations)


def is_done(path: Path, file: EvaluationFile) -> bool:
    """Whether the same evaluations were the last to be made, to their end, and every result is there."""
    try:
        return _done_marker(path).read_text(encoding="utf-8") == _text(file) and not missing(file)
    except FileNotFoundError:
        return False


def _done_marker(path: Path) -> Path:
    """`evaluation.done` beside `evaluation.json`."""
    return path.with_suffix(".done")


def _text(file: EvaluationFile) -> str:
    return file.model_dump_json(indent=2)


def _base(
    spec: EvalSpec, model: str, runs: Sequence[PlannedRun], output: Callable[[str, int], Path]
) -> list[Evaluation]:
    tasks = dict.fromkeys(task for run in runs for task in _tasks(spec, run))
    return _each(spec, "base", model, tuple(tasks), output)


def _base_again(
    spec: EvalSpec, model: str, runs: Sequence[PlannedRun], output: Callable[..., Path]
) -> list[Evaluation]:
    """The second and later evaluations of a base model, each with a place of its own."""
    return [
        evaluation.model_copy(update={"label": f"base, evaluation {repeat}"})
        for repeat in range(2, spec.base_evaluations + 1)
        for evaluation in _base(spec, model, runs, partial(output, repeat=repeat))
    ]


def _trained(spec: EvalSpec, run: PlannedRun) -> list[Evaluation]:
    checkpoint = run.paths.last_checkpoint()
    if checkpoint is None:
        return []
    output = partial(run.paths.evaluation, checkpoint.name)
    return _each(spec, run.name, str(checkpoint), _tasks(spec, run), output)


def _each(
    spec: EvalSpec,
    label: str,
    model: str,
    tasks: Sequence[EvaluationTask],
    output: Callable[[str, int], Path],
) -> list[Evaluation]:
    """One model with every task and number of shots."""
    return [
        Evaluation(
            label=label,
            model=model,
            task=task,
            num_fewshot=shots,
            output=str(output(task, shots)),
            limit=spec.limit,
            data=spec.data,
            max_completion_tokens=spec.max_completion_tokens,
        )
        for task in tasks
        for shots in spec.num_fewshot
    ]


def _tasks(spec: EvalSpec, run: PlannedRun) -> tuple[EvaluationTask, ...]:
    return spec.tasks or (_TASKS[run.config.task.name],)
