"""Any dataset of questions and answers, from a local file or from the hub."""

from collections.abc import Iterable
from pathlib import Path

from trainer.errors import ConfigError
from trainer.settings import TaskSettings
from trainer.tasks.gsm8k import STOP
from trainer.tasks.problem import Task
from trainer.tasks.question_answer import build_task
from trainer.tasks.rows import Row, is_file, read_file, read_hub


def load_dataset(settings: TaskSettings, held_out: int) -> Task:
    """The rows of `task.path`, by `task.question_column` and `task.answer_column`.

    A template of one's own has no stop strings unless `task.stop` gives some.

    Raises:
        ConfigError: it cannot be read, or has no held-out problems where they are asked for.
    """
    if settings.path is None:
        raise ConfigError(
            "task.path is missing: dataset needs a name on the hub, or a local .jsonl or .parquet file"
        )
    default_template = settings.template == TaskSettings.model_fields["template"].default
    return build_task(
        settings,
        rows=_rows(settings, settings.path),
        held_out_rows=_held_out_rows(settings, settings.path) if held_out else (),
        held_out=held_out,
        stop=STOP if default_template else (),
    )


def _rows(settings: TaskSettings, path: str) -> Iterable[Row]:
    if not is_file(path):
        return read_hub(path, settings.subset, settings.split, _advice("path"))
    for key in ("subset", "split", "held_out_split"):
        value = getattr(settings, key)
        if value != TaskSettings.model_fields[key].default:
            raise ConfigError(f"task.{key} is {value!r}, but task.path {path} is a local file; leave it out")
    return read_file(Path(path), "task.path")


def _held_out_rows(settings: TaskSettings, path: str) -> Iterable[Row]:
    if settings.held_out_path is not None:
        return read_file(Path(settings.held_out_path), "task.held_out_path")
    if is_file(path):
        raise ConfigError(
            f"held_out.every_steps needs held-out problems, but task.path {path} is a local file; set "
            "task.held_out_path to another one"
        )
    return read_hub(path, settings.subset, settings.held_out_split, _advice("held_out_path"))


def _advice(key: str) -> str:
    return (
        "See that task.path, task.subset and the split are right; where there is no network, download its "
        f"rows as .jsonl or .parquet and set task.{key} to that file"
    )
