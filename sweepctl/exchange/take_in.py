"""lm-eval's results and a table of runs -> a sweep's folder."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from results.evaluation_files import is_our_own, is_result, read_result
from results.sweep_files import BASE_MODELS, PlannedRun
from sweepctl.errors import Place, Problem, SpecError, suggestion
from sweepctl.exchange.building import building, copy, require_space
from sweepctl.exchange.imported import imported_from
from sweepctl.exchange.layout import Item, is_folder_name
from sweepctl.exchange.lm_eval_files import Evaluated, find_evaluations, model_called
from sweepctl.exchange.run_table import TableFile
from sweepctl.exchange.unpack import TakenIn
from sweepctl.files import write_atomically
from trainer.paths import RunPaths, SweepPaths, metadata_path, samples_path, slug
from trainer.records import RunState, RunStatus

PROFILE = "imported"
"""Stands in reports where the profile of a sweep stands that was run here."""
_IS_BASE = re.compile(r"(?:.*[-_.])?base", re.IGNORECASE)


@dataclass(frozen=True)
class _Run:
    """A run as it will stand in the plan, and its evaluations."""

    plan: PlannedRun
    evaluated: tuple[Evaluated, ...]

    def step(self, each: Evaluated) -> int | None:
        """Of the checkpoint evaluated: by its name, else the last of the run."""
        return each.step if each.step is not None else self.plan.config.get("max_steps")

    @property
    def last_step(self) -> int:
        """The furthest step there is a word of, 0 where there is none."""
        steps = (self.plan.config.get("max_steps"), *(self.step(each) for each in self.evaluated))
        return max((step for step in steps if step is not None), default=0)


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
    base = _base_of(findings.evaluated, table, folder, problems)
    model = _base_model(base, table)
    rest = [each for each in findings.evaluated if each not in base]
    remarks = list(findings.remarks)
    if not base and rest:
        remarks.append(
            "no base model among the results: deltas from it are left out (`base_model` names one)"
        )
    runs = _from_table(rest, table, model, problems, remarks) if table else _by_name(rest, model, problems)
    problems += _collisions(runs)
    if not runs and not problems:
        message = f"results of the base model '{model}' only; those of a run are needed beside them"
        problems.append(Problem(Place(str(folder)), message))
    if problems:
        raise SpecError(problems)
    items = [*_base_items(base, model), *(item for run in runs for item in _run_items(run))]
    require_space(items, directory)
    with building(directory) as place:
        sweep = SweepPaths(place)
        for item in items:
            copy(item, place)
        for run in runs:
            _write_status(sweep.run(run.plan.run_name), run, folder)
        _complete_our_own(place, items)
        manifest = _manifest(directory.name, folder, runs, model if base else None, table)
        write_atomically(sweep.manifest, json.dumps(manifest, indent=2))
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


def _base_of(
    evaluated: tuple[Evaluated, ...], table: TableFile | None, folder: Path, problems: list[Problem]
) -> list[Evaluated]:
    """The results of the base model: those the table names, else those whose name ends in the word `base`."""
    owners = list(dict.fromkeys(each.owner for each in evaluated))
    if table is not None and (given := table.table.base_model) is not None:
        if given not in owners:
            place = table.source.place(("base_model",))
            problems.append(
                Problem(place, f"base_model: no results of '{given}'; {suggestion(given, owners)}")
            )
        return [each for each in evaluated if each.owner == given]
    claimed = {run.row.evaluations or run.row.run_name for run in table.runs} if table else set()
    bases = [owner for owner in owners if _IS_BASE.fullmatch(owner) and owner not in claimed]
    if "base" in bases:
        bases = ["base"]
    if len(bases) > 1:
        message = f"several base models: {', '.join(bases)}; say which with `base_model` in a --runs table"
        problems.append(Problem(Place(str(folder)), message))
    return [each for each in evaluated if each.owner in bases]


def _base_model(base: list[Evaluated], table: TableFile | None) -> str | None:
    """The base model's name: the table's, else as lm-eval noted it, else whose results they are."""
    if table is not None and (given := table.base.get("model")) is not None:
        return str(given)
    if not base:
        return None
    called = model_called(base[0].result)
    return called if called and slug(called) else base[0].owner


def _from_table(
    evaluated: list[Evaluated],
    table: TableFile,
    model: str | None,
    problems: list[Problem],
    remarks: list[str],
) -> list[_Run]:
    """The table's runs in its order."""
    owners = list(dict.fromkeys(each.owner for each in evaluated))
    runs = []
    for index, known in enumerate(table.runs):
        row = known.row
        if row.evaluations is not None and row.evaluations not in owners:
            place = table.source.place(("runs", index, "evaluations"))
            message = f"evaluations: no results of '{row.evaluations}'; {suggestion(row.evaluations, owners)}"
            problems.append(Problem(place, message))
        mine = tuple(each for each in evaluated if each.owner == (row.evaluations or row.run_name))
        config = {**({"model": model} if model else {}), **known.config}
        plan = PlannedRun(run_name=row.run_name, label=row.label, config=config, published=row.published())
        runs.append(_Run(plan, mine))
    taken = {each.owner for run in runs for each in run.evaluated}
    remarks += [
        f"{owner}: its results are left out, no run of the table has them"
        for owner in owners
        if owner not in taken
    ]
    return runs


def _by_name(evaluated: list[Evaluated], model: str | None, problems: list[Problem]) -> list[_Run]:
    """A run for each name that has results; of its knobs nothing is known."""
    owners: dict[str, list[Evaluated]] = {}
    for each in evaluated:
        owners.setdefault(each.owner, []).append(each)
    names: dict[str, str] = {}
    runs = []
    for owner, mine in owners.items():
        name = slug(owner)
        place = Place(str(mine[0].path))
        if name in names:
            problems.append(
                Problem(place, f"'{owner}' and '{names[name]}' would both be called '{name}'; rename one")
            )
        elif not is_folder_name(name):
            problems.append(Problem(place, f"a run cannot be called '{owner}'; rename the file"))
        names[name] = owner
        config: dict[str, Any] = {"model": model} if model else {}
        runs.append(_Run(PlannedRun(run_name=name, config=config), tuple(mine)))
    return runs


def _collisions(runs: list[_Run]) -> Iterator[Problem]:
    """Results that would lie at the same place: a checkpoint of unknown step, which is the run's last."""
    for run in runs:
        seen: dict[PurePosixPath, Path] = {}
        for each in run.evaluated:
            target = _target(run, each)
            if target in seen:
                same = f"the same checkpoint, task and shots of {run.plan.run_name}"
                message = f"{same} as {seen[target]}; remove one"
                yield Problem(Place(str(each.path)), message)
            seen[target] = each.path


def _base_items(base: list[Evaluated], model: str | None) -> Iterator[Item]:
    for each in base:
        name = f"{slug(each.task)}_{each.num_fewshot}shot.json"
        yield from _with_samples(each, PurePosixPath(BASE_MODELS, slug(model or each.owner), name))


def _run_items(run: _Run) -> Iterator[Item]:
    for each in run.evaluated:
        yield from _with_samples(each, _target(run, each))


def _target(run: _Run, each: Evaluated) -> PurePosixPath:
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


def _write_status(paths: RunPaths, run: _Run, folder: Path) -> None:
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
    name: str, folder: Path, runs: list[_Run], base_model: str | None, table: TableFile | None
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
