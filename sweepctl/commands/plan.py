"""`sweepctl plan`: the runs of a sweep, and what they will come to."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweepctl.plan.plan import Plan
from sweepctl.running.slots import Share
from trainer.errors import ConfigError, SweepctlError
from trainer.paths import store_path

if TYPE_CHECKING:  # slow to import, and not needed for a plan without a prediction
    from sweepctl.planner.costs import CostModel, KnownCosts
    from trainer.config import RunConfig

_HAND = "--generate-s, --train-s-per-prompt, --overhead-s"
NO_COSTS = (
    "no run like these, of such a model, task, lengths, engine, learner and groups, has finished on such a "
    "machine; `sweepctl plan SPEC --pilot` "
    f"trains a few steps to find out, --from RUN takes any other run's costs, {_HAND} give them by hand"
)


@dataclass(frozen=True)
class CostsRequest:
    """Where the costs of a prediction come from.

    Attributes:
        from_run: the finished run to fit them to.
        pilot_steps: train one arm for so many steps first and fit them to that; None: do not.
        generate_s, train_s_per_prompt, overhead_s: given by hand, all or none.
    """

    from_run: str | None = None
    pilot_steps: int | None = None
    generate_s: float | None = None
    train_s_per_prompt: float | None = None
    overhead_s: float | None = None

    @property
    def by_hand(self) -> dict[str, float]:
        """The costs that were given by hand."""
        given = {
            "generate_s": self.generate_s,
            "train_s_per_prompt": self.train_s_per_prompt,
            "overhead_s": self.overhead_s,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def named(self) -> bool:
        """Whether they were asked for; else what earlier runs have recorded is looked through."""
        return self.from_run is not None or self.pilot_steps is not None or bool(self.by_hand)


def show_plan(
    plan: Plan,
    share: Share,
    runs_dir: Path,
    costs: CostsRequest | None = None,
    *,
    recommend: bool = False,
    retry_failed: bool = False,
    force: bool = False,
    as_json: bool = False,
) -> None:
    """Print a plan and, where costs are known, what it comes to.

    Args:
        plan: of the sweep.
        share: of the machine that `run` would use.
        runs_dir: where all sweeps are.
        costs: where they come from; by default the finished run that has most to say.
        recommend: look beyond the sweep's own settings.
        retry_failed, force: as `run` would be asked.
        as_json: for scripts.

    Raises:
        ConfigError: costs cannot be had where they were said to come from.
    """
    known = problem = None
    try:
        known = known_costs(costs or CostsRequest(), plan, share, runs_dir)
    except SweepctlError as error:
        if costs is not None and costs.named:
            raise
        problem = error  # the plan itself needs no store
    if recommend and known is None:
        raise ConfigError(f"nothing can be recommended: {problem or NO_COSTS}")
    if problem is not None:
        print(f"no prediction: {problem}", file=sys.stderr)
    outlook = found = None
    if known is not None:
        from sweepctl.planner.outlook import look_ahead  # noqa: PLC0415
        from sweepctl.planner.recommend import recommend as look_beyond  # noqa: PLC0415

        outlook = look_ahead(plan, known)
        found = look_beyond(plan, outlook) if recommend else None
    if as_json:
        predicted = {"prediction": outlook.summary() if outlook else None}
        beyond = {"recommendation": found.summary()} if found else {}
        print(json.dumps(plan.summary() | predicted | beyond, indent=2))
        return
    from sweepctl.plan.show import print_plan  # noqa: PLC0415

    print_plan(plan, retry_failed=retry_failed, force=force)
    if outlook is None:
        if problem is None:
            print(f"no prediction: {NO_COSTS}")
        return
    from sweepctl.planner.show import print_outlook, print_recommendation  # noqa: PLC0415

    slots = len(share.slots(share.devices))
    print_outlook(plan, outlook, slots=slots, retry_failed=retry_failed, force=force)
    if found:
        print_recommendation(found)


def _check(request: CostsRequest) -> None:
    """What was asked for is one way to get at costs, and whole.

    Raises:
        ConfigError: it is not.
    """
    ways = {
        "--from": request.from_run is not None,
        "--pilot": request.pilot_steps is not None,
        _HAND: bool(request.by_hand),
    }
    chosen = [name for name, given in ways.items() if given]
    if len(chosen) > 1:
        raise ConfigError(f"costs come from one place; found {' and '.join(chosen)}")
    if 0 < len(request.by_hand) < len(_HAND.split(", ")):
        given = ", ".join(f"--{name.replace('_', '-')}" for name in request.by_hand)
        raise ConfigError(
            f"found {given} alone; costs by hand are three numbers: {_HAND} (seconds from the dispatch of a "
            "step's groups until its training can start, of training a prompt, and of the rest of a step)"
        )


def known_costs(request: CostsRequest, plan: Plan, share: Share, runs_dir: Path) -> "KnownCosts | None":
    """The costs that were asked for, or by default those of the finished runs that have most to say.

    Those by hand or of a run that was named are every run's; those of a pilot, of the runs that are like it.
    None where nothing is known of any run.

    Raises:
        ConfigError: they cannot be had where they were said to come from.
        StoreError: the store cannot be read.
    """
    _check(request)
    if not plan.feasible or not (request.named or store_path(runs_dir).exists()):
        return None
    from sweepctl.commands.up_to_date import bring_up_to_date  # noqa: PLC0415
    from sweepctl.planner.costs import KnownCosts, by_hand  # noqa: PLC0415
    from sweepctl.planner.source import (  # noqa: PLC0415
        config_of,
        costs_of,
        likely_costs,
        named_costs,
        suits,
    )
    from sweepctl.watching.status import locate_seeds  # noqa: PLC0415

    if request.by_hand:
        return KnownCosts.alike_for_all(_honest(by_hand(**request.by_hand), plan))
    if request.from_run is not None:
        found = locate_seeds(runs_dir, request.from_run)  # first: a name that is wrong is no store's fault
        bring_up_to_date(runs_dir)
        costs = costs_of(runs_dir, found, request.from_run)
        return KnownCosts.alike_for_all(_honest(_told_apart(costs, plan, config_of(found[0])), plan))
    if request.pilot_steps is not None:
        from sweepctl.planner.pilot import chosen_arm, pilot  # noqa: PLC0415

        run = "/".join(pilot(plan, runs_dir, steps=request.pilot_steps, share=share))
        bring_up_to_date(runs_dir)
        costs, piloted = named_costs(runs_dir, run), chosen_arm(plan).config
        return KnownCosts(costs.source, lambda config: costs if suits(piloted, config) else None)
    return likely_costs(runs_dir, plan.name, [run.config for run in plan.feasible])


def _told_apart(costs: "CostModel", plan: Plan, known: "RunConfig | None") -> "CostModel":
    """The same costs, whose source says so where the run that they come from is unlike those of the plan."""
    from sweepctl.planner.source import differs_in  # noqa: PLC0415

    if known is None:
        return costs
    keys = dict.fromkeys(key for run in plan.feasible for key in differs_in(known, run.config))
    if not keys:
        return costs
    model = f", of {known.model}" if "model" in keys else ""
    return replace(costs, source=f"{costs.source}{model}, unlike runs of this sweep in {', '.join(keys)}")


def _honest(costs: "CostModel", plan: Plan) -> "CostModel":
    """The same costs, whose source says so where they leave out held-out evaluations that there will be."""
    if costs.durations.held_out_s or all(run.config.held_out.every_steps is None for run in plan.feasible):
        return costs
    return replace(costs, source=f"{costs.source}, without held-out evaluations")
