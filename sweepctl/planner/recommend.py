"""Settings worth trying that a sweep does not have: by simulation, from the same costs as its prediction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from results.files.predictions import Prediction
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.planner.costs import CostModel
from sweepctl.planner.outlook import Outlook
from sweepctl.planner.predict import predict
from trainer.config import RunConfig
from trainer.errors import ConfigError
from trainer.schedule import infeasibility

_PLAYS = 3
_OLDER = 2
"""So many steps beyond the largest max_staleness of the sweep are looked at."""
_OLDEST = 8
GAIN = 0.02
"""What a setting must be faster by to be worth anything: less is within what chance makes of a few plays."""
_DEVICES = (2, 3, 4, 8)


@dataclass(frozen=True)
class Setting:
    """A point of the grid over s, B and k.

    Attributes:
        max_staleness, prompts_per_optim_step, sync_interval_steps: s, B, k.
        prediction: of it.
        label: of the sweep's run with this setting, or None.
    """

    max_staleness: int
    prompts_per_optim_step: int
    sync_interval_steps: int
    prediction: Prediction
    label: str | None


@dataclass(frozen=True)
class Turn:
    """One knob turned, all else equal.

    Attributes:
        key, before, after: which, from where to where.
        prompts_per_s: with it.
        gain: relative to before.
        learns_otherwise: whether it changes what a step learns from, beside when.
    """

    key: str
    before: Any
    after: Any
    prompts_per_s: float
    gain: float
    learns_otherwise: bool
    why: str


@dataclass(frozen=True)
class Split:
    """Devices shared out between engine and learner."""

    devices: int
    engine: int
    learner: int
    prompts_per_s: float


@dataclass(frozen=True)
class Recommendation:
    """What to try.

    Attributes:
        front: settings that no other beats in prompts/s without older samples, by age.
        start: the fastest run of the sweep, from where knobs are turned and devices shared out.
        turns: single knobs, the most rewarding first.
        splits: the best for each number of devices, where engine and learner scale without loss.
    """

    front: tuple[Setting, ...]
    start: PlannedRun
    turns: tuple[Turn, ...]
    splits: tuple[Split, ...]

    def summary(self) -> dict[str, Any]:
        """As JSON; docs/planner.md says what the keys mean."""
        return {
            "front": [_setting_summary(setting) for setting in self.front],
            "start": self.start.name,
            "turns": [vars(turn) for turn in self.turns],
            "splits": [vars(split) for split in self.splits],
        }


def recommend(plan: Plan, outlook: Outlook) -> Recommendation:
    """Look beyond the settings of a sweep whose runs have been predicted.

    Raises:
        ConfigError: none of them could be.
    """
    known = [run for run in plan.feasible if run.name in outlook.predictions]
    if not known:
        raise ConfigError("nothing can be recommended: by these costs no run finds groups to learn from")
    start = max(known, key=lambda run: outlook.predictions[run.name].prompts_per_s)
    return Recommendation(
        front=_front(_grid(known, outlook.costs)),
        start=start,
        turns=_turns(start.config, outlook.costs),
        splits=_splits(start.config, outlook.costs),
    )


def _grid(runs: Sequence[PlannedRun], costs: CostModel) -> Iterator[Setting]:
    """Every feasible s and k, for each batch of the sweep; the rest is as in its first run of that batch."""
    batches = {run.config.prompts_per_optim_step: run for run in reversed(runs)}
    oldest = min(max(run.config.max_staleness for run in runs) + _OLDER, _OLDEST)
    labels = {_place(run.config): run.label for run in reversed(runs)}
    for batch in sorted(batches):
        for staleness in range(oldest + 1):
            for interval in range(1, staleness + 2):
                config = _changed(
                    batches[batch].config,
                    max_staleness=staleness,
                    prompts_per_rollout_sync=interval * batch,
                    max_inflight_groups=None,
                )
                yield Setting(staleness, batch, interval, _played(config, costs), labels.get(_place(config)))


def _place(config: RunConfig) -> tuple[int, int, int]:
    schedule = config.schedule
    return schedule.max_staleness, schedule.prompts_per_optim_step, schedule.sync_interval_steps


def _front(settings: Iterator[Setting]) -> tuple[Setting, ...]:
    """By age, those that are faster than all that are no older."""
    front: list[Setting] = []
    by_age = sorted(settings, key=lambda each: (each.prediction.age_mean, -each.prediction.prompts_per_s))
    for setting in by_age:
        if not front or setting.prediction.prompts_per_s > front[-1].prediction.prompts_per_s * (1 + GAIN):
            front.append(setting)
    return tuple(front)


def _turns(config: RunConfig, costs: CostModel) -> tuple[Turn, ...]:
    before = _played(config, costs)
    turns = [
        _turn(config, before, key, changes, costs, learns_otherwise=otherwise)
        for key, changes, otherwise in _single_changes(config)
    ]
    return tuple(sorted(turns, key=lambda turn: -turn.gain))


def _single_changes(config: RunConfig) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """What one could turn, each by the smallest step, and whether it changes what a step learns from."""
    batch, per_sync, s = config.prompts_per_optim_step, config.sync_prompts, config.max_staleness
    yield "max_staleness", {"max_staleness": s + 1}, False
    for more in (per_sync + batch, per_sync - batch):
        if more >= batch and infeasibility(s, batch, more) is None:
            yield "prompts_per_rollout_sync", {"prompts_per_rollout_sync": more}, False
    doubled = {"prompts_per_optim_step": 2 * batch, "prompts_per_rollout_sync": 2 * per_sync}
    yield "prompts_per_optim_step", doubled, True
    for way in ("wait", "abort", "keep"):
        if way != config.in_flight:
            yield "in_flight", {"in_flight": way}, False
    if config.forward_backward_prompts == batch > 1 and config.updates_per_batch == 1:
        yield "prompts_per_forward_backward", {"prompts_per_forward_backward": 1}, False


def _turn(
    config: RunConfig,
    before: Prediction,
    key: str,
    changes: dict[str, Any],
    costs: CostModel,
    *,
    learns_otherwise: bool,
) -> Turn:
    after = _played(_changed(config, **changes), costs)
    return Turn(
        key=key,
        before=_value(config, key),
        after=changes[key],
        prompts_per_s=after.prompts_per_s,
        gain=after.prompts_per_s / before.prompts_per_s - 1.0,
        learns_otherwise=learns_otherwise,
        why=_why(before, after),
    )


def _value(config: RunConfig, key: str) -> Any:  # noqa: ANN401 - any value of a configuration
    derived = {
        "prompts_per_rollout_sync": config.sync_prompts,
        "prompts_per_forward_backward": config.forward_backward_prompts,
    }
    return derived.get(key, getattr(config, key))


def _why(before: Prediction, after: Prediction) -> str:
    """Where the time of a prompt goes that is won or lost: the part that changes most."""
    parts = {
        "waiting for groups": "wait_s",
        "draining the engine": "drain_s",
        "learning": "learn_s",
        "syncs": "sync_s",
        "the rest": "other_s",
    }
    change = {
        words: _per_prompt(after, getattr(after, name)) - _per_prompt(before, getattr(before, name))
        for words, name in parts.items()
    }
    words = max(change, key=lambda part: abs(change[part]))
    was, is_now = (_per_prompt(each, getattr(each, parts[words])) for each in (before, after))
    return f"{words}: {1e3 * was:.0f} ms a prompt before, {1e3 * is_now:.0f} ms after"


def _per_prompt(prediction: Prediction, seconds_a_step: float) -> float:
    return seconds_a_step / (prediction.prompts_per_s * prediction.step_s)


def _splits(config: RunConfig, costs: CostModel) -> tuple[Split, ...]:
    return tuple(
        max(
            (_split(config, costs, devices, engine) for engine in range(1, devices)),
            key=lambda split: split.prompts_per_s,
        )
        for devices in _DEVICES
    )


def _split(config: RunConfig, costs: CostModel, devices: int, engine: int) -> Split:
    """Groups are spread over the engine's devices, tokens over the learner's."""
    learner, durations = devices - engine, costs.durations
    shared = replace(
        durations,
        crowding=durations.crowding / engine,
        learn_s_per_prompt=durations.learn_s_per_prompt / learner,
        learn_s_per_token=durations.learn_s_per_token / learner,
    )
    predicted = _played(config, replace(costs, durations=shared))
    return Split(devices, engine, learner, predicted.prompts_per_s)


def _played(config: RunConfig, costs: CostModel) -> Prediction:
    """Without a search for modes: there are many settings."""
    return predict(config, costs, _PLAYS, searched=0)


def _changed(config: RunConfig, **changes: Any) -> RunConfig:  # noqa: ANN401 - any value of a configuration
    return RunConfig.model_validate(config.model_dump() | changes)


def _setting_summary(setting: Setting) -> dict[str, Any]:
    prediction = setting.prediction
    return {
        "max_staleness": setting.max_staleness,
        "prompts_per_optim_step": setting.prompts_per_optim_step,
        "sync_interval_steps": setting.sync_interval_steps,
        "label": setting.label,
        "prompts_per_s": prediction.prompts_per_s,
        "age_mean": prediction.age_mean,
        "step_s": prediction.step_s,
        "engine_idle_share": prediction.engine_idle_share,
        "learner_idle_share": prediction.learner_idle_share,
    }
