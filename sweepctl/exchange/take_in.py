"""lm-eval's results and a table of runs -> a sweep's folder."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from results.files.evaluations import is_our_own, is_result, read_result
from results.files.sweeps import BASE_MODELS
from sweepctl.errors import Place, Problem, SpecError
from sweepctl.exchange.building import building, copy, require_space
from sweepctl.exchange.json_lines import end_last_line
from sweepctl.exchange.layout import Item
from sweepctl.exchange.lm_eval_files import Evaluated, find_evaluations
from sweepctl.exchange.owners import ImportedRun, base_model_name, base_of, runs_by_name, runs_of_table
from sweepctl.exchange.run_table import TableFile
from sweepctl.exchange.unpack import TakenIn
from sweepctl.files import write_atomically
from sweepctl.imported import imported_from
from trainer.paths import RunPaths, SweepPaths, metadata_path, samples_path, slug
from trainer.records import RunState, RunStatus

PROFILE = "imported"
"""Stands in reports where the profile of a sweep stands that was run here."""


def take_in(folder: Path, directory: Path, table: TableFile | None) -> TakenIn:
    """Copy lm-eval's results to where a sweep has them, and write down what is known of the runs.

    Args:
        folder: where the results are.
        directory: the sweep's folder, not there yet.
        table: knobs and times of the runs.

    Raises:
        SpecError: with everything that is wrong; nothing was written.
        StorageError: too little space, or the disk refuses.
    """
    findings = find_evaluations(folder)
    problems = list(findings.problems)
    if not findings.evaluated and not problems and not _needs_no_files(table):
        raise SpecError([Problem(Place(str(folder)), _nothing_found(findings.remarks))])
    base = base_of(findings.evaluated, table, folder, problems)
    model = base_model_name(base, table)
    rest = [each for each in findings.evaluated if each not in base]
    remarks = list(findings.remarks)
    if not base and rest:
        remarks.append(
            "no base model among the results: deltas from it are left out (`base_model` names one)"
        )
    runs = (
        runs_of_table(rest, table, model, problems, remarks) if table else runs_by_name(rest, model, problems)
    )
    if not runs and not problems:
        message = f"results of the base model '{model}' only; those of a run are needed beside them"
        problems.append(Problem(Place(str(folder)), message))
    items = [*_base_items(base, model), *(item for run in runs for item in _run_items(run))]
    problems = problems or list(_collisions(items))
    if problems:
        raise SpecError(problems)
    require_space(items, directory)
    with building(directory) as place:
        sweep = SweepPaths(place)
        for item in items:
            copied = copy(item, place)
            if copied.suffix == ".jsonl":
                end_last_line(copied)
        for run in runs:
            _write_status(sweep.run(run.plan.run_name), run, folder)
        _complete_our_own(place, items)
        manifest = _manifest(directory.name, folder, runs, model if base else None, table)
        write_atomically(sweep.manifest, json.dumps(manifest, indent=2, default=str))  # YAML knows dates
    return TakenIn(
        directory, tuple(run.plan.run_name for run in runs), len(findings.evaluated), tuple(remarks)
    )


def _needs_no_files(table: TableFile | None) -> bool:
    return table is not None and not any(run.row.evaluations for run in table.runs)


def _nothing_found(remarks: tuple[str, ...]) -> str:
    seen = f" ({'; '.join(remarks[:3])})" if remarks else ""
    return (
        f"no lm-eval results here{seen}; they are named <model>_<n>shot.json or <model>/results_<date>.json, "
        "and an exported sweep has a sweep.json"
    )


def _collisions(items: list[Item]) -> Iterator[Problem]:
    """Results that would lie at one place, such as a checkpoint of unknown step and the run's last."""
    seen: dict[PurePosixPath, Path] = {}
    for item in items:
        if item.target in seen:
            message = f"would lie at the same place as {seen[item.target]}, {item.target}; remove one"
            yield Problem(Place(str(item.source)), message)
        seen[item.target] = item.source


def _base_items(base: list[Evaluated], model: str | None) -> Iterator[Item]:
    for each in base:
        name = f"{slug(each.task)}_{each.num_fewshot}shot.json"
        yield from _with_samples(each, PurePosixPath(BASE_MODELS, slug(model or each.owner), name))


def _run_items(run: ImportedRun) -> Iterator[Item]:
    for each in run.evaluated:
        yield from _with_samples(each, _target(run, each))


def _target(run: ImportedRun, each: Evaluated) -> PurePosixPath:
    step = run.step(each)
    checkpoint = "unknown_step" if step is None else f"step_{step:06d}"
    name = f"{slug(each.task)}_{each.num_fewshot}shot.json"
    return PurePosixPath(run.plan.run_name, "eval", checkpoint, name)


def _with_samples(each: Evaluated, target: PurePosixPath) -> Iterator[Item]:
    yield Item(each.path, target)
    if each.samples is not None:
        yield Item(each.samples, PurePosixPath(samples_path(Path(target))))
    if each.metadata is not None:
        yield Item(each.metadata, PurePosixPath(metadata_path(Path(target))))


def _complete_our_own(folder: Path, items: list[Item]) -> None:
    """A result of our own counts once its metadata is there; where that was lost, it says so."""
    for item in items:
        target = folder / item.target
        if is_result(target) and is_our_own(read_result(target)) and not metadata_path(target).exists():
            metadata_path(target).write_text(json.dumps({"imported_without_metadata": True}) + "\n")


def _write_status(paths: RunPaths, run: ImportedRun, folder: Path) -> None:
    """The run is over, and was not made here."""
    dates = [each.result.date for each in run.evaluated if each.result.date is not None]
    status = RunStatus(
        state=RunState.SUCCEEDED,
        attempt=0,
        heartbeat=max(dates, default=time.time()),
        step=run.last_step,
        max_steps=run.last_step,
        reason=f"imported from {folder.resolve().name}",
    )
    write_atomically(paths.status, status.model_dump_json())


def _manifest(
    name: str, folder: Path, runs: list[ImportedRun], base_model: str | None, table: TableFile | None
) -> dict[str, Any]:
    """`sweep.json` of a sweep that was not run here."""
    dates = [each.result.date for run in runs for each in run.evaluated if each.result.date is not None]
    reference: Mapping[str, Any] | None = table.reference if table else None
    return {
        "version": 1,
        "name": name,
        "profile": PROFILE,
        "created_unix": min(dates, default=time.time()),
        "imported": imported_from(folder),
        "spec": {},
        "baseline": table.baseline if table else None,
        "reference": reference,
        "margin": table.table.margin if table else 2.0,
        "base_models": [base_model] if base_model else [],
        "runs": [
            {
                **run.plan.model_dump(mode="json"),
                "config": {"max_steps": run.last_step or None, **run.plan.config},
            }
            for run in runs
        ],
        "environment": {},
        "git": {},
    }
