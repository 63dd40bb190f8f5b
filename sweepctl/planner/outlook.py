"""A sweep as predicted: every run, how it compares with its twin, and how long all of it takes."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.files.predictions import Prediction
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.plan.twins import twins
from sweepctl.planner.costs import CostModel
from sweepctl.planner.predict import predict, replications
from trainer.simulator import StalledError

_MOST_GROUPS = 300_000
"""Of one sweep, a few times over, takes some seconds; runs beyond are not predicted, and it is said."""


@dataclass(frozen=True)
class Outlook:
    """What to expect of a sweep.

    Attributes:
        costs: what it was predicted from.
        predictions: by run name.
        twins: by run name, the run it is compared with.
        left_out: runs that were too many to be predicted.
        useless: names of runs that would find nothing to train on, by these costs.
    """

    costs: CostModel
    predictions: Mapping[str, Prediction]
    twins: Mapping[str, str]
    left_out: int = 0
    useless: tuple[str, ...] = ()

    def speedup(self, name: str) -> float | None:
        """Prompts/s over those of the run's twin; None without one."""
        twin = self.predictions.get(self.twins.get(name, ""))
        run = self.predictions.get(name)
        return run.prompts_per_s / twin.prompts_per_s if run and twin else None

    def training_s(self, runs: Sequence[PlannedRun], slots: int = 1) -> float:
        """Seconds until the last of these runs is trained, each begun as soon as a slot is free."""
        free = [0.0] * slots
        for run in runs:
            if run.name in self.predictions:
                rest = 1.0 - (run.status.step / run.config.max_steps if run.status else 0.0)
                heapq.heappush(free, heapq.heappop(free) + rest * self.predictions[run.name].wall_s)
        return max(free)

    def summary(self) -> dict[str, Any]:
        """As JSON; docs/planner.md says what the keys mean."""
        return {
            "costs": self.costs.source,
            "left_out": self.left_out,
            "useless": list(self.useless),
            "runs": {
                name: prediction.model_dump(mode="json")
                | {"speedup": self.speedup(name), "twin": self.twins.get(name)}
                for name, prediction in self.predictions.items()
            },
        }


def look_ahead(plan: Plan, costs: CostModel) -> Outlook:
    """Predict every feasible run; those that differ by their seed only share a prediction."""
    runs, left_out = _affordable(plan.feasible)
    plays = replications([run.config for run in runs])
    made: dict[str, Prediction | None] = {}
    for run in runs:
        arm = _arm(run)
        if arm not in made:
            made[arm] = _predicted(run, costs, plays)
    predictions = {run.name: found for run in runs if (found := made[_arm(run)]) is not None}
    useless = tuple(run.name for run in runs if run.name not in predictions)
    return Outlook(costs, predictions, twins(plan.resolved, plan.feasible), left_out, useless)


def _arm(run: PlannedRun) -> str:
    """The same for runs that differ by their seed only."""
    return run.config.model_copy(update={"seed": 0}).run_id()


def _predicted(run: PlannedRun, costs: CostModel, plays: int) -> Prediction | None:
    """None where no group that was drawn can be trained on: the trainer would give the run up."""
    try:
        return predict(run.config, costs, plays)
    except StalledError:
        return None


def _affordable(runs: Sequence[PlannedRun]) -> tuple[list[PlannedRun], int]:
    """The first runs, as many as can be simulated in seconds, and how many are left."""
    chosen: list[PlannedRun] = []
    groups = 0
    for run in runs:
        groups += run.config.max_steps * run.config.prompts_per_optim_step
        if chosen and groups > _MOST_GROUPS:
            break
        chosen.append(run)
    return chosen, len(runs) - len(chosen)
