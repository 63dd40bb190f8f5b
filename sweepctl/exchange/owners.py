"""Which results are the base model's, and whose the others are."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.files.sweeps import PlannedRun
from sweepctl.errors import Place, Problem, suggestion
from sweepctl.exchange.lm_eval_files import Evaluated, model_called
from sweepctl.exchange.run_table import TableFile
from trainer.paths import is_run_name, slug

_IS_BASE = re.compile(r"(?:.*[-_.])?base", re.IGNORECASE)


@dataclass(frozen=True)
class ImportedRun:
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


def base_of(
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


def base_model_name(base: list[Evaluated], table: TableFile | None) -> str | None:
    """The base model's name: the table's, else as lm-eval noted it, else whose results they are."""
    if table is not None and (given := table.base.get("model")) is not None:
        return str(given)
    if not base:
        return None
    called = model_called(base[0].result)
    return called if called and slug(called) else base[0].owner


def runs_of_table(
    evaluated: list[Evaluated],
    table: TableFile,
    model: str | None,
    problems: list[Problem],
    remarks: list[str],
) -> list[ImportedRun]:
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
        runs.append(ImportedRun(plan, mine))
    taken = {each.owner for run in runs for each in run.evaluated}
    remarks += [
        f"{owner}: its results are left out, no run of the table has them"
        for owner in owners
        if owner not in taken
    ]
    return runs


def runs_by_name(evaluated: list[Evaluated], model: str | None, problems: list[Problem]) -> list[ImportedRun]:
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
        elif not is_run_name(name):
            problems.append(Problem(place, f"a run cannot be called '{owner}'; rename the file"))
        names[name] = owner
        config: dict[str, Any] = {"model": model} if model else {}
        runs.append(ImportedRun(PlannedRun(run_name=name, config=config), tuple(mine)))
    return runs
