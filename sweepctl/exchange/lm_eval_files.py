"""Finds lm-eval's results in a folder, whoever named them, and says whose they are.

    <name>_<n>shot.json                     the reference's names
    <name>_<n>shot_<date>.json              lm_eval --output_path <name>_<n>shot.json
    <model>/results_<date>.json             lm_eval --output_path FOLDER

Beside a dated result lie its samples, `samples_<task>_<date>.jsonl`.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from results.files.evaluations import SAMPLES, LmEvalResult, read_result
from results.files.sweeps import BadFileError
from sweepctl.errors import Place, Problem
from sweepctl.exchange.layout import files_under, links_under
from trainer.paths import metadata_path, samples_path

_DATE = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?"
_SHOTS = re.compile(rf"(?P<owner>.+)_(?P<shots>\d+)shot(?:_(?P<date>{_DATE}))?\.json")
_DATED = re.compile(rf"(?P<owner>.+)_(?P<date>{_DATE})\.json")
_STEP = re.compile(r"(?:(?P<owner>.*?)[-_])?(?:step|checkpoint)[-_]?(?P<step>\d+)")


@dataclass(frozen=True)
class Evaluated:
    """One task of one lm-eval result."""

    path: Path
    owner: str
    """Whose it is, as the file or lm-eval names it."""
    step: int | None
    """Optimizer steps of the checkpoint, where a name tells."""
    task: str
    num_fewshot: int
    result: LmEvalResult
    dated: bool
    """Whether the name has a date, so that a later one may replace it."""
    samples: Path | None

    @property
    def key(self) -> tuple[str, int | None, str, int]:
        """What two results must not share."""
        return self.owner, self.step, self.task, self.num_fewshot

    @property
    def metadata(self) -> Path | None:
        """What the product wrote beside a result of its own."""
        path = metadata_path(self.path)
        return path if path.is_file() else None


@dataclass(frozen=True)
class Findings:
    """What is in a folder."""

    evaluated: tuple[Evaluated, ...]
    problems: tuple[Problem, ...]
    remarks: tuple[str, ...]


def find_evaluations(folder: Path) -> Findings:
    """Every lm-eval result below a folder, with everything that is wrong with those that cannot be read."""
    found: list[Evaluated] = []
    problems: list[Problem] = []
    remarks: list[str] = []
    for path in files_under(folder):
        named = _SHOTS.fullmatch(path.name) or _DATED.fullmatch(path.name)
        if named is None:
            if path.suffix == ".json" and not path.name.endswith(".meta.json"):
                remarks.append(f"{path.relative_to(folder)}: passed over, it is not named as a result")
            continue
        try:
            result = read_result(path)
        except BadFileError as error:
            problems.append(Problem(Place(str(path)), str(error).removeprefix(f"{path}: ")))
        except OSError as error:
            problems.append(Problem(Place(str(path)), f"cannot be read: {error.strerror}"))
        else:
            read, wrong = _tasks_of(path, named, result)
            found += read
            problems += wrong
    linked = (path for path in links_under(folder) if path.is_dir())
    remarks += [f"{path.relative_to(folder)}: a linked folder, not entered" for path in linked]
    kept, doubled = _without_doubles(found, remarks)
    problems += doubled
    evaluated = tuple(_with_checked_samples(each, problems, remarks) for each in kept)
    return Findings(evaluated, tuple(problems), tuple(remarks))


def _tasks_of(
    path: Path, named: re.Match[str], result: LmEvalResult
) -> tuple[list[Evaluated], list[Problem]]:
    """A result task by task; the subtasks of a group go with it."""
    shots_of_name = int(named["shots"]) if "shots" in named.re.groupindex else None
    owner, step = _owner(path, named, result)
    subtasks = {name for names in result.group_subtasks.values() for name in names}
    found, problems = [], []
    for task, metrics in result.results.items():
        if task in subtasks or not _has_metric(metrics):
            continue
        members = result.group_subtasks.get(task, [])
        shots = next(
            (result.n_shot[name] for name in (task, *members) if name in result.n_shot), shots_of_name
        )
        if shots is None:
            problems.append(
                Problem(Place(str(path)), f"neither its name nor `n-shot` tells the shots of {task}")
            )
        elif shots_of_name not in {None, shots}:
            message = f"its name says {shots_of_name} shots, lm-eval's `n-shot` of {task} says {shots}"
            problems.append(Problem(Place(str(path)), message))
        else:
            samples = _samples_of(path, named["date"], task)
            found.append(
                Evaluated(path, owner, step, task, shots, result, named["date"] is not None, samples)
            )
    if not found and not problems:
        problems.append(Problem(Place(str(path)), "not an lm-eval result: it holds no metric of any task"))
    return found, problems


def _owner(path: Path, named: re.Match[str], result: LmEvalResult) -> tuple[str, int | None]:
    """Who was evaluated, and at which step: by the file's name, else by the model's, as lm-eval noted it."""
    parts = [part for part in (result.model_name or "").split("/") if part]
    of_model = _STEP.fullmatch(parts[-1]) if parts else None
    step = int(of_model["step"]) if of_model else None
    if "shots" in named.re.groupindex:
        by_name = _STEP.fullmatch(named["owner"])
        if by_name and by_name["owner"]:
            return by_name["owner"], int(by_name["step"])
        return named["owner"], step
    if not parts:
        return path.parent.name, step
    if of_model is None:
        return model_called(result) or parts[-1], None
    # <run>/checkpoints/step_000100, as here; <run>/checkpoint-100, as elsewhere
    above = [part for part in parts[:-1] if part != "checkpoints"]
    return of_model["owner"] or (above[-1] if above else parts[-1]), step


def model_called(result: LmEvalResult) -> str | None:
    """The model's name without the folders of the machine it lay on; a name on the hub stays whole."""
    name = result.model_name
    if not name:
        return None
    on_hub = name.count("/") == 1 and name[0] not in "/.~"
    return name if on_hub else name.rstrip("/").rpartition("/")[2]


def _samples_of(path: Path, date: str | None, task: str) -> Path | None:
    beside = samples_path(path) if date is None else path.with_name(f"samples_{task}_{date}.jsonl")
    return beside if os.path.lexists(beside) else None


def _has_metric(values: dict[str, object]) -> bool:
    return any("," in key and isinstance(value, int | float) for key, value in values.items())


def _without_doubles(found: list[Evaluated], remarks: list[str]) -> tuple[list[Evaluated], list[Problem]]:
    """Of several dated results of the same kind the latest; other doubles are an error."""
    kept: dict[tuple[str, int | None, str, int], Evaluated] = {}
    problems = []
    for each in sorted(found, key=lambda each: (each.result.date or 0.0, str(each.path))):
        earlier = kept.get(each.key)
        if earlier is None or (earlier.dated and each.dated):
            if earlier is not None:
                remarks.append(f"{earlier.path.name}: left out, {each.path.name} is later")
            kept[each.key] = each
            continue
        what = f"{each.owner}, {each.task}, {each.num_fewshot} shots"
        problems.append(Problem(Place(str(each.path)), f"the same as {earlier.path}: {what}; remove one"))
    return list(kept.values()), problems


def _with_checked_samples(evaluated: Evaluated, problems: list[Problem], remarks: list[str]) -> Evaluated:
    """The result with its samples, if they can be read. Of a bad file the first bad line is told."""
    path, number = evaluated.samples, 0
    if path is None:
        return evaluated
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                SAMPLES.validate_json(line)
    except OSError as error:
        problems.append(Problem(Place(str(path)), f"cannot be read: {error.strerror}"))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "missing" and first["loc"] == ("exact_match",):
            remarks.append(f"{path.name}: samples left out, they are not scored by exact match")
            return replace(evaluated, samples=None)
        where = ".".join(str(part) for part in first["loc"])
        message = f"not a sample of lm-eval: {where + ': ' if where else ''}{first['msg']}"
        problems.append(Problem(Place(str(path), number), message))
    return evaluated
