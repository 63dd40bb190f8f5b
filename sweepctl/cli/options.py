"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from sweepctl.cli.completion import complete_profile, complete_run, complete_spec, complete_sweep

SpecArgument = Annotated[
    Path,
    typer.Argument(
        metavar="SPEC",
        help="A sweep spec, such as sweeps/staleness.yaml.",
        autocompletion=complete_spec,
    ),
]
SweepArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SWEEP", help="A sweep's name; by default the latest.", autocompletion=complete_sweep
    ),
]
RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's name, its label, or SWEEP/RUN.", autocompletion=complete_run),
]
RunsDir = Annotated[
    Path, typer.Option("--runs-dir", envvar="SWEEPCTL_RUNS_DIR", help="Where all results are.")
]
Profile = Annotated[
    str,
    typer.Option(
        "--profile",
        help="A profile of the spec; auto: the first that fits.",
        autocompletion=complete_profile,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key for all runs, or one of the spec's own."),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="EXPR",
        help="Only these runs: labels or names ('Exp1,s0_*'), or a condition ('max_staleness == 1').",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]
