"""`python -m trainer.evaluation --config evaluation.json [--engine SOCKET]`: all evaluations of one model.

Evaluations that are complete and unchanged are skipped. Exit codes: 0 all are there, 1 not all,
2 the configuration is wrong.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from trainer.errors import ConfigError, SweepctlError
from trainer.evaluation_config import Evaluation, EvaluationFile
from trainer.paths import metadata_path


def main(
    config: Annotated[Path, typer.Option(help="The evaluations asked for.")],
    engine: Annotated[
        Path | None, typer.Option(help="Unix socket of a running vllm serve; without it one is started.")
    ] = None,
) -> None:
    """Evaluate checkpoints with lm-eval, one after the other over one engine."""
    try:
        code = _run(_read(config), engine, config.resolve().parent)
    except SweepctlError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2 if isinstance(error, ConfigError) else 1
    raise typer.Exit(code)


def _read(path: Path) -> EvaluationFile:
    try:
        return EvaluationFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is no valid evaluation configuration:\n{error}") from error


def _run(file: EvaluationFile, socket: Path | None, directory: Path) -> int:
    from trainer.engine.start import engine_description  # noqa: PLC0415 - slow to import
    from trainer.evaluation.checkpoint_id import checkpoint_id  # noqa: PLC0415
    from trainer.models import model_directory  # noqa: PLC0415

    folders = {model: model_directory(model) for model in {e.model for e in file.evaluations}}
    engine = engine_description(file.engine)
    try:
        identities = {model: checkpoint_id(folder) for model, folder in folders.items()}
    except (OSError, ValueError) as error:
        raise ConfigError(f"a model's weights cannot be read: {error}; save it as safetensors") from error
    try:
        ids = [e.evaluation_id(identities[e.model], engine, file.engine) for e in file.evaluations]
    except OSError as error:
        raise ConfigError(f"data: {error.filename} cannot be read: {error.strerror}") from error
    todo = [(e, i) for e, i in zip(file.evaluations, ids, strict=True) if not _complete(e, i)]
    print(f"{len(file.evaluations) - len(todo)} evaluations are there, {len(todo)} to do", flush=True)
    if todo:
        _evaluate_all(todo, folders, file, socket, directory)
    return 0


def _evaluate_all(
    todo: list[tuple[Evaluation, str]],
    folders: dict[str, Path],
    file: EvaluationFile,
    socket: Path | None,
    directory: Path,
) -> None:
    from trainer.engine.start import start_engine  # noqa: PLC0415 - slow to import
    from trainer.evaluation.engine_model import EngineModel  # noqa: PLC0415
    from trainer.evaluation.harness import evaluate, require_data, task_manager  # noqa: PLC0415

    tasks = task_manager()
    require_data([evaluation for evaluation, _ in todo], tasks)
    engine = start_engine(str(folders[todo[0][0].model]), file.engine, socket, directory, ())
    model = EngineModel(engine)
    loaded: str | None = None
    try:
        model.attach()
        for number, (evaluation, identity) in enumerate(todo, start=1):
            if evaluation.model != loaded:
                model.use(folders[evaluation.model])
                loaded = evaluation.model
            metadata = {
                "evaluation_id": identity,
                "label": evaluation.label,
                "checkpoint": evaluation.model,
                "task": evaluation.task,
                "num_fewshot": evaluation.num_fewshot,
                "engine": engine.description,
                "dtype": file.engine.dtype,
                "max_model_len": file.engine.max_model_len,
                "max_completion_tokens": evaluation.max_completion_tokens,
            }
            scores = evaluate(evaluation, model, tasks, metadata)
            shown = "  ".join(f"{name} {score:.3f}" for name, score in scores.items())
            print(
                f"[{number}/{len(todo)}] {evaluation.label} {evaluation.num_fewshot}-shot  {shown}",
                flush=True,
            )
    finally:
        model.close()


def _complete(evaluation: Evaluation, identity: str) -> bool:
    path = metadata_path(Path(evaluation.output))
    try:
        return bool(json.loads(path.read_text())["evaluation_id"] == identity)
    except (OSError, ValueError, KeyError):
        return False


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    typer.run(main)
