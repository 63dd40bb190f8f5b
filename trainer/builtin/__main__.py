"""`python -m trainer.builtin`: make the built-in model, measure it, print its problems."""

import json
import logging
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from trainer.builtin import MODEL_DIR
from trainer.builtin.problems import generate

# Commands import what needs torch themselves: printing problems should not wait for it.

app = typer.Typer(
    help="The built-in task and model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class SplitName(StrEnum):
    """A split, as typer wants a choice."""

    TRAIN = "train"
    TEST = "test"


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(help="Where to save the model.", file_okay=False)],
    seed: Annotated[int, typer.Option(help="Seed of the weights and the problems.")] = 0,
    first_stage: Annotated[
        Path | None,
        typer.Option(help="The first stage's model: used if it exists, saved there if not.", file_okay=False),
    ] = None,
) -> None:
    """Train the built-in model from nothing (about eight minutes on two idle cores) and measure it."""
    from trainer.builtin.accuracy import record  # noqa: PLC0415
    from trainer.builtin.pretrain import pretrain as train  # noqa: PLC0415

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    ceiling = train(out, seed, first_stage)
    command = f"python -m trainer.builtin pretrain --out DIR --seed {seed}"
    record(out, command, seed, ceiling)
    typer.echo((out / "accuracy.json").read_text())


@app.command()
def accuracy(
    model: Annotated[
        Path, typer.Option(help="A Hugging Face model folder.", exists=True, file_okay=False)
    ] = MODEL_DIR,
    problems: Annotated[int, typer.Option(help="How many held-out problems.", min=1)] = 500,
    shots: Annotated[int, typer.Option(help="Worked examples before each question.", min=0)] = 0,
    completions: Annotated[
        int, typer.Option(help="0: one greedy completion; more: so many sampled at temperature 1.", min=0)
    ] = 0,
) -> None:
    """Measure a model on held-out problems and print its figures as JSON."""
    from dataclasses import asdict  # noqa: PLC0415

    from trainer.builtin.accuracy import Solver  # noqa: PLC0415

    if not (model / "config.json").is_file():
        raise typer.BadParameter(f"{model} holds no config.json, so it is no Hugging Face model folder")
    if shots and completions:
        raise typer.BadParameter("--completions is measured without examples; leave --shots out")
    solver = Solver.load(model)
    figures = solver.sampled(problems, completions) if completions else solver.greedy(problems, shots)
    typer.echo(json.dumps(asdict(figures)))


@app.command()
def problems(
    split: Annotated[SplitName, typer.Option(help="Which split.")] = SplitName.TEST,
    count: Annotated[int, typer.Option(help="How many problems.", min=0)] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
) -> None:
    """Print problems as JSON lines with GSM8K's fields, `question` and `answer`."""
    for problem in generate(split.value, count, seed):
        typer.echo(json.dumps({"question": problem.question, "answer": problem.answer}))


if __name__ == "__main__":
    app(prog_name="python -m trainer.builtin")
