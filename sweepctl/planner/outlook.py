"""A sweep as predicted: every run, how it compares with its twin, and how long all of it takes."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results.files.predictions import Prediction
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.plan.spans import spans
from sweepctl.plan.twins import twins
from sweepctl.planner.costs import CostModel, KnownCosts
from sweepctl.planner.predict import predict, replications
from trainer.config import RunConfig
from trainer.simulator import StalledError

_MOST_GROUPS = 300_000
"""Of one sweep, a few times over, takes some seconds; runs beyond are not predicted, and it is said."""


@dataclass(frozen=True)
class Outlook:
    """What to expect of a sweep.

    Attributes:
        known: the costs that it was predicted from.
        predictions: by run name, in the plan's order.
        twins: by run name, the run it is compared with.
        left_out: runs that were too many to be predicted.
        unknown: names of runs of whose costs nothing is known.
        useless: names of runs that would find nothing to train on, by these costs.
    """

    known: KnownCosts
    predictions: Mapping[str, Prediction]
    twins: Mapping[str, str]
    left_out: int = 0
    unknown: tuple[str, ...] = ()
    useless: tuple[str, ...] = ()

    def speedup(self, name: str) -> float | None:
        """Prompts/s over those of the run's twin; None without one."""
        twin = self.predictions.get(self.twins.get(name, ""))
        run = self.predictions.get(name)
        return run.prompts_per_s / twin.prompts_per_s if run and twin else None

    def training_s(self, runs: Sequence[PlannedRun], slots: int = 1, *, afresh: bool = False) -> float:
        """Seconds until the last of these runs is trained, each begun as soon as a slot is free.

        Those without a prediction count as nothing.

        Args:
            runs: in the order in which they begin.
            slots: runs at a time.
            afresh: all from their first step; else an interrupted or failed one goes on where it is.
        """
        free = [0.0] * slots
        for run in runs:
            if run.name in self.predictions:
                left = 1.0 if afresh else _share_left(run)
                heapq.heappush(free, heapq.heappop(free) + left * self.predictions[run.name].wall_s)
        return max(free)

    def on_record(self) -> dict[str, Prediction]:
        """The predictions by run name, each with its speed-up: its twin may be predicted anew."""
        return {
            name: prediction.model_copy(update={"speedup": self.speedup(name)})
            for name, prediction in self.predictions.items()
        }

    def gaps(self, plan: Plan) -> Iterator[str]:
        """Sentences on the runs that are not predicted, or only in part."""

        def those(names: Sequence[str]) -> str:
            chosen = set(names)
            return spans(plan.feasible, [run for run in plan.feasible if run.name in chosen])

        if self.left_out:
            yield f"{self.left_out:,} more runs were not predicted: simulating them would take too long"
        if self.unknown:
            yield (
                f"no prediction for {those(self.unknown)}: nothing is known of what such runs cost here; "
                "--from RUN takes any other run's costs"
            )
        if self.useless:
            yield (
                f"no prediction for {those(self.useless)}: by these costs too few groups would have rewards "
                "to learn from"
            )
        if given_up := {n: found for n, found in self.predictions.items() if found.stalled_share}:
            most = max(found.stalled_share for found in given_up.values())
            yield (
                f"{those(list(given_up))}: up to {most:.0%} of the simulated runs found too few groups with "
                "rewards to learn from and ended early; what is predicted is of the others"
            )

    def summary(self) -> dict[str, Any]:
        """As JSON; docs/planner.md says what the keys mean."""
        return {
            "costs": self.known.source,
            "left_out": self.left_out,
            "unknown": list(self.unknown),
            "useless": list(self.useless),
            "runs": {
                name: prediction.model_dump(mode="json") | {"twin": self.twins.get(name)}
                for name, prediction in self.on_record().items()
            },
        }


def look_ahead(plan: Plan, known: KnownCosts) -> Outlook:
    """Predict every feasible run that costs are known of; seeds of an arm share a prediction."""
    arms: dict[str, list[PlannedRun]] = {}
    for run in plan.feasible:
        arms.setdefault(arm_key(run.config), []).append(run)
    costs = {arm: known.of(runs[0].config) for arm, runs in arms.items()}
    played = _affordable({arm: runs[0].config for arm, runs in arms.items() if costs[arm] is not None})
    plays = replications(list(played.values()))
    made = {
        run.name: prediction
        for arm, config in played.items()
        if (model := costs[arm]) is not None and (prediction := _predicted(config, model, plays)) is not None
        for run in arms[arm]
    }
    unknown = {run.name for arm, runs in arms.items() if costs[arm] is None for run in runs}
    useless = {run.name for arm in played for run in arms[arm]} - made.keys()
    names = [run.name for run in plan.feasible]
    return Outlook(
        known=known,
        predictions={name: made[name] for name in names if name in made},
        twins=twins(plan.resolved, plan.feasible),
        left_out=len(names) - len(made) - len(unknown) - len(useless),
        unknown=tuple(name for name in names if name in unknown),
        useless=tuple(name for name in names if name in useless),
    )


def arm_key(config: RunConfig) -> str:
    """The whole of a configuration but its seed, defaults that follow from other keys filled in."""
    filled = {
        "seed": 0,
        "prompts_per_rollout_sync": config.sync_prompts,
        "prompts_per_forward_backward": config.forward_backward_prompts,
        "max_inflight_groups": config.schedule.max_inflight_groups,
    }
    return config.model_copy(update=filled).model_dump_json()


def _share_left(run: PlannedRun) -> float:
    """Of a run's steps: what is outdated or new begins again."""
    goes_on = run.status is not None and run.state in {"interrupted", "failed"}
    return 1.0 - run.status.step / run.config.max_steps if goes_on and run.status else 1.0


def _predicted(config: RunConfig, costs: CostModel, plays: int) -> Prediction | None:
    """None where hardly a group that was drawn can be trained on: the trainer would give the run up."""
    try:
        return predict(config, costs, plays)
    except StalledError:
        return None


def _affordable(arms: Mapping[str, RunConfig]) -> dict[str, RunConfig]:
    """The first arms, as many as can be simulated in seconds."""
    chosen: dict[str, RunConfig] = {}
    groups = 0
    for arm, config in arms.items():
        groups += config.max_steps * config.prompts_per_optim_step
        if chosen and groups > _MOST_GROUPS:
            break
        chosen[arm] = config
    return chosen
