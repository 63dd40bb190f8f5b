"""GSM8K (Cobbe et al., 2021, arXiv:2110.14168), from the hub or from local files in its format."""

from collections.abc import Iterable
from pathlib import Path

from trainer.errors import ConfigError
from trainer.settings import TaskSettings
from trainer.tasks.problem import Task
from trainer.tasks.question_answer import build_task
from trainer.tasks.rows import Row, read_file, read_hub

HUB_NAME = "openai/gsm8k"
SUBSET = "main"
# A base model goes on with a question of its own after its answer; what it would say there is not wanted.
STOP = ("Q:", "\n\n\n")


def load_gsm8k(settings: TaskSettings, held_out: int) -> Task:
    """The training split, 7,473 problems on the hub, held out from its 1,319 test problems; or local files.

    Raises:
        ConfigError: it cannot be had, or a local file has no held-out file beside it.
    """
    return build_task(
        settings,
        rows=_rows(settings.path, "train", "path"),
        held_out_rows=_held_out_rows(settings) if held_out else (),
        held_out=held_out,
        stop=STOP,
    )


def _held_out_rows(settings: TaskSettings) -> Iterable[Row]:
    if settings.path is not None and settings.held_out_path is None:
        raise ConfigError(
            f"held_out.every_steps needs held-out problems, but task.path {settings.path} is a local file; "
            "set task.held_out_path to another one, such as GSM8K's test.jsonl"
        )
    return _rows(settings.held_out_path, "test", "held_out_path")


def _rows(path: str | None, split: str, key: str) -> Iterable[Row]:
    if path is not None:
        return read_file(Path(path), f"task.{key}")
    advice = f"Where there is no network, download its {split}.jsonl and set task.{key} to that file"
    return read_hub(HUB_NAME, SUBSET, split, advice)
