"""`sweepctl run`."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.errors import ConfigError

if TYPE_CHECKING:  # slow to import; `sweepctl --help` needs none of it
    from results.files.predictions import Prediction
    from sweepctl.plan.plan import Plan
    from sweepctl.running.slots import Share

DEFAULT_RUNS = Path("runs")


@dataclass(frozen=True)
class RunRequest:
    """What the command line asks for."""

    spec: Path
    profile: str = "auto"
    overrides: tuple[str, ...] = ()
    only: str | None = None
    runs_dir: Path = DEFAULT_RUNS
    concurrency: int | None = None
    devices: str | None = None
    retry_failed: bool = False
    rerun_on: frozenset[str] = frozenset()
    force: bool = False
    evaluate: bool = True
    inline: bool = False
    predict_from: str | None = None
    """The run whose records the prediction comes from; by default the one that has most to say."""

    def words(self) -> list[str]:
        """The command that goes on with this: without what was asked for once, and without the place."""
        words = ["sweepctl", "run", str(self.spec)]
        words += ["--profile", self.profile] if self.profile != "auto" else []
        words += [part for override in self.overrides for part in ("--set", override)]
        words += ["--only", self.only] if self.only else []
        words += ["-j", str(self.concurrency)] if self.concurrency else []
        words += ["--devices", self.devices] if self.devices else []
        words += ["--no-eval"] if not self.evaluate else []
        words += ["--executor", "inline"] if self.inline else []
        return words

    def resume_command(self) -> str:
        """What to type to go on after an interruption."""
        return shlex.join([*self.words(), *self._elsewhere()])

    def report_command(self, sweep: str) -> str:
        """What to type to see the results."""
        return shlex.join(["sweepctl", "report", sweep, *self._elsewhere()])

    def _elsewhere(self) -> list[str]:
        return ["--runs-dir", str(self.runs_dir)] if self.runs_dir != DEFAULT_RUNS else []


def _predictions(
    request: RunRequest, plan: "Plan", share: "Share", say: Callable[[str], None]
) -> "Mapping[str, Prediction]":
    """What the runs that have not begun will do, to be held against what they did; none is no error.

    Raises:
        ConfigError: there is no run of the name that costs were to come from.
    """
    from results.store import StoreError  # noqa: PLC0415
    from sweepctl.commands.plan import NO_COSTS, CostsRequest, known_costs  # noqa: PLC0415

    if not any(run.state == "new" for run in plan.feasible):
        return {}
    try:
        known = known_costs(CostsRequest(from_run=request.predict_from), plan, share, request.runs_dir)
    except StoreError as error:  # what earlier runs left behind is no reason not to train
        say(f"no prediction: {error}")
        return {}
    if known is None:
        say(f"no prediction: {NO_COSTS}")
        return {}
    from sweepctl.plan.select import due  # noqa: PLC0415
    from sweepctl.planner.outlook import look_ahead  # noqa: PLC0415
    from sweepctl.planner.show import training_text  # noqa: PLC0415

    outlook = look_ahead(plan, known)
    todo = due(
        plan,
        retry_failed=request.retry_failed,
        force=request.force,
        max_attempts=plan.resolved.spec.retry.max_attempts,
    )
    if told := training_text(outlook, todo, len(share.slots(share.devices)), afresh=request.force):
        say(f"predicted; costs: {known.source}; {told}")
    for gap in outlook.gaps(plan):
        say(gap)
    return outlook.on_record()


def run_sweep(request: RunRequest) -> int:
    """Run a sweep to its end; the exit code.

    Raises:
        SweepctlError: a bad spec, or a sweep that is being run already.
    """
    from sweepctl.imported import refuse_imported  # noqa: PLC0415
    from sweepctl.mirrors.companions import check  # noqa: PLC0415
    from sweepctl.plan.plan import load_plan  # noqa: PLC0415
    from sweepctl.running.executor import InlineExecutor, LocalExecutor  # noqa: PLC0415
    from sweepctl.running.ingesting import update_store  # noqa: PLC0415
    from sweepctl.running.runner import Options, SweepRunner  # noqa: PLC0415
    from sweepctl.running.slots import choose_share  # noqa: PLC0415
    from sweepctl.watching.display import make_display  # noqa: PLC0415
    from sweepctl.watching.unbreakable import UnbreakableDisplay  # noqa: PLC0415

    plan = load_plan(
        request.spec,
        request.profile,
        request.overrides,
        request.runs_dir,
        only=request.only,
        rerun_on=request.rerun_on,
    )
    refuse_imported(plan.paths)
    spec = plan.resolved.spec
    share = choose_share(spec.resources, request.devices, 1 if request.inline else request.concurrency)
    if missing := check(spec.mirrors):
        raise ConfigError("\n".join(missing))
    display = UnbreakableDisplay(make_display())
    for note in plan.notes:
        display.say(note)
    return SweepRunner(
        plan=plan,
        options=Options(
            retry_failed=request.retry_failed,
            force=request.force,
            evaluate=request.evaluate,
            resume_command=request.resume_command(),
            command=tuple(request.words()),
            report_command=request.report_command(plan.name),
        ),
        display=display,
        share=share,
        ingest=lambda: update_store(request.runs_dir),
        predict=lambda plan, say: _predictions(request, plan, share, say),
        executor=InlineExecutor() if request.inline else LocalExecutor(),
    ).run()
