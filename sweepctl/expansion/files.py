"""Models and files that are not there: better said now than hours into a sweep. Reads no more than a line."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sweepctl.errors import Place, Problem
from sweepctl.expansion.space import Rows, Space, value_of
from sweepctl.spec.model import EvalSpec
from sweepctl.spec.settings import Flat
from trainer.errors import ConfigError
from trainer.models import model_path
from trainer.tasks.rows import FILE_TYPES, is_file, read_file

_TASK_KEYS = (
    "task.name",
    "task.path",
    "task.held_out_path",
    "task.question_column",
    "task.answer_column",
)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
_WEIGHTS = ("*.safetensors", "*.bin")


def file_problems(
    space: Space, points: Sequence[Rows], evaluation: EvalSpec | None, file: str
) -> Iterator[Problem]:
    """What is wrong with the models and data of points whose values are right."""

    def of_model(settings: Flat) -> tuple[Problem, ...]:
        return tuple(Problem(_place(settings, "model", file), message) for message in _model(settings))

    def of_task(settings: Flat) -> tuple[Problem, ...]:
        problems = [
            Problem(_place(settings, key, file), f"{key}: {message}")
            for key in ("task.path", "task.held_out_path")
            for message in _data(settings, key)
        ]
        if value_of(settings, "task.name") == "dataset" and evaluation is not None and not evaluation.tasks:
            problems.append(
                Problem(
                    _place(settings, "task.name", file),
                    "eval.tasks must name lm-eval tasks, since task.name is 'dataset'; or leave eval out "
                    "(held_out evaluates during the run)",
                )
            )
        return tuple(problems)

    for found in dict.fromkeys(space.each(points, {"model"}, of_model)):
        yield from found
    for found in dict.fromkeys(space.each(points, _TASK_KEYS, of_task)):
        yield from found


def _place(settings: Flat, key: str, file: str) -> Place:
    return settings[key].place if key in settings else Place(file, 1)


def _model(settings: Flat) -> Iterator[str]:
    model = str(value_of(settings, "model"))
    folder = Path(model)
    if model.startswith("builtin:"):
        try:
            model_path(model)
        except ConfigError as error:
            yield str(error)
    elif folder.is_dir():
        lacks = {
            "no config.json": (folder / "config.json").is_file(),
            "no tokenizer": any((folder / name).is_file() for name in _TOKENIZERS),
            "no weights": any(next(folder.glob(pattern), None) for pattern in _WEIGHTS),
        }
        if missing := [what for what, there in lacks.items() if not there]:
            yield f"model: the folder '{model}' has {', '.join(missing)}; give one in Hugging Face format"
    elif model.startswith((".", "/", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model):
        yield f"model: no folder '{model}', and it is no name on the hub such as Qwen/Qwen3-1.7B-Base"


def _data(settings: Flat, key: str) -> Iterator[str]:
    path = value_of(settings, key)
    if not isinstance(path, str) or (value_of(settings, "task.name") == "dataset" and not is_file(path)):
        return
    if not Path(path).is_file():
        yield f"no file '{path}'; give a {' or '.join(FILE_TYPES)} file"
    elif not path.endswith(FILE_TYPES):
        yield f"'{path}' must end with {' or '.join(FILE_TYPES)}"
    elif path.endswith(".jsonl"):  # Parquet is slow to open, and says its columns when the run starts
        yield from _columns(settings, key, path)


def _columns(settings: Flat, key: str, path: str) -> Iterator[str]:
    try:
        row = next(read_file(Path(path), key), None)
    except ConfigError as error:
        yield str(error)
        return
    if row is None:
        yield f"'{path}' is empty; give a file with a problem on each line"
        return
    wanted = [str(value_of(settings, column)) for column in ("task.question_column", "task.answer_column")]
    if missing := [column for column in wanted if column not in row.columns]:
        yield (
            f"{row.where} has no {' and no '.join(missing)}, only {', '.join(row.columns) or 'nothing'}; "
            "name its columns with task.question_column and task.answer_column"
        )
