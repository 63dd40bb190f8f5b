"""The application, its exit codes, and how errors end it.

Data goes to stdout, progress and errors to stderr. Exit codes: 0 all well, 1 some run failed, 2 a bad
spec or usage, 130 interrupted: the same command goes on.
"""

import sys
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from trainer.errors import ConfigError, SweepctlError

app = typer.Typer(
    help="Declarative sweeps for asynchronous GRPO: what staleness buys, and what it costs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> NoReturn:
    """The `sweepctl` command: expected errors become one message and an exit code."""
    for stream in (sys.stdout, sys.stderr):  # names of files may be no text
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except SweepctlError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone, as `head` does
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        advice = "check the path, its permissions and the space left, and run the command again"
        _fail(SweepctlError(f"{where}{error.strerror or error}; {advice}"))
    sys.exit(0)


def _fail(error: SweepctlError) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2 if isinstance(error, ConfigError) else 1)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed  # noqa: PLC0415

        print(f"sweepctl {installed('sweepctl')}")
        raise typer.Exit
