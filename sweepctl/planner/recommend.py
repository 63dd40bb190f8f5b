"""Settings worth trying that a sweep does not have: by simulation, from the same costs as its prediction."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from results.files.predictions import Prediction
from sweepctl.plan.plan import Plan, PlannedRun
from sweepctl.planner.costs import KnownCosts, way_of
from sweepctl.planner.knobs import Change, changed, single_changes
from sweepctl.planner.outlook import Outlook, arm_key
from sweepctl.planner.trials import GAIN, Trial, Trials, affordable, gain
from trainer.config import RunConfig
from trainer.errors import ConfigError
from trainer.simulator import Durations

_OLDER = 2
"""So many steps beyond the largest max_staleness of the sweep are looked at."""
_OLDEST = 8
_DEVICES = (2, 3, 4, 8)


@dataclass(frozen=True)
class Setting:
    """A run of the sweep, or a point of the grid over s, B and k.

    Attributes:
        max_staleness, prompts_per_optim_step, sync_interval_steps: s, B, k.
        prediction: of it.
        label: of the sweep's run with this configuration, or None.
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
        also: what goes with it, by key.
        prompts_per_s: with it.
        gain: relative to before, mean over plays of the same draws.
        gain_at_least: lower end of its one-sided 95 % t-interval.
        learns_otherwise: whether it changes what a step learns from, beside when.
        why: where the time is won or lost.
    """

    key: str
    before: Any
    after: Any
    also: Mapping[str, Any]
    prompts_per_s: float
    gain: float
    gain_at_least: float
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
        front: settings by the age of their samples, each faster than the one before by more than `GAIN`.
        start: the fastest run of the sweep, from where knobs are turned and devices shared out.
        turns: single knobs, the most rewarding first.
        splits: the best for each number of devices, where engine and learner scale without loss; none from
            costs by hand.
        simulated_steps: each run was simulated in about so many steps; None: in all of its own.
    """

    front: tuple[Setting, ...]
    start: PlannedRun
    turns: tuple[Turn, ...]
    splits: tuple[Split, ...]
    simulated_steps: int | None

    def summary(self) -> dict[str, Any]:
        """As JSON; docs/planner.md says what the keys mean."""
        return {
            "front": [_setting_summary(setting) for setting in self.front],
            "start": self.start.name,
            "turns": [vars(turn) for turn in self.turns],
            "splits": [vars(split) for split in self.splits],
            "simulated_steps": self.simulated_steps,
        }


def recommend(plan: Plan, outlook: Outlook) -> Recommendation:
    """Look beyond the settings of a sweep whose runs have been predicted.

    Raises:
        ConfigError: none of them could be.
    """
    runs = [run for run in plan.feasible if run.name in outlook.predictions]
    if not runs:
        raise ConfigError(f"nothing can be recommended: {'; '.join(outlook.gaps(plan))}")
    start = max(runs, key=lambda run: outlook.predictions[run.name].prompts_per_s)
    settings, changes = list(_settings(runs)), list(single_changes(start.config))
    shares = list(_shares(start.config, outlook.known))
    trials = affordable(
        outlook.known,
        [
            *(config for config, _ in settings),
            *(change.config for change in changes),
            *[start.config] * (1 + len(shares)),
        ],
        max(outlook.predictions[run.name].dispatched_per_trained or 1.0 for run in runs),
    )
    before = trials.of(start.config)
    if before is None:
        raise ConfigError(
            f"nothing can be recommended: most simulated runs of {start.label}, the fastest, find too few "
            "groups to learn from"
        )
    longest = max(run.config.max_steps for run in runs)
    return Recommendation(
        front=_front([(config, label, trials.of(config)) for config, label in settings]),
        start=start,
        turns=_turns(before, [(change, trials.of(change.config)) for change in changes]),
        splits=_splits(start.config, shares, trials),
        simulated_steps=trials.steps if trials.steps < longest else None,
    )


def _settings(runs: Sequence[PlannedRun]) -> Iterator[tuple[RunConfig, str | None]]:
    """The sweep's own, one for each way in time; and every other s and k, for each of its batches.

    The rest of these is as in the sweep's first run of that batch.
    """
    own = {way_of(run.config): run for run in reversed(runs)}
    yield from ((run.config, run.label) for run in reversed(own.values()))
    there = {arm_key(run.config) for run in runs}
    batches = {run.config.prompts_per_optim_step: run.config for run in reversed(runs)}
    oldest = min(max(run.config.max_staleness for run in runs) + _OLDER, _OLDEST)
    for batch in sorted(batches):
        for staleness in range(oldest + 1):
            for interval in range(1, staleness + 2):
                changes = {
                    "max_staleness": staleness,
                    "prompts_per_rollout_sync": interval * batch,
                    "max_inflight_groups": None,
                }
                config = changed(batches[batch], changes)
                if config is not None and arm_key(config) not in there:
                    yield config, None


def _front(tried: Sequence[tuple[RunConfig, str | None, Trial | None]]) -> tuple[Setting, ...]:
    """By age, each surely faster than the one before by more than `GAIN`; of equals the sweep's own."""
    front: list[tuple[float, Trial, Setting]] = []
    by_age = sorted(
        ((_shown(trial), config, label, trial) for config, label, trial in tried if trial is not None),
        key=lambda each: (each[0], each[2] is None, -each[3].prediction.prompts_per_s),
    )
    for age, config, label, trial in by_age:
        if front and gain(front[-1][1], trial).at_least <= GAIN:
            continue
        if front and front[-1][0] == age:
            front.pop()
        schedule = config.schedule
        setting = Setting(
            schedule.max_staleness,
            schedule.prompts_per_optim_step,
            schedule.sync_interval_steps,
            trial.prediction,
            label,
        )
        front.append((age, trial, setting))
    return tuple(setting for _, _, setting in front)


def _shown(trial: Trial) -> float:
    """The age as it is printed: what differs by less is of one age."""
    return round(trial.prediction.age_mean, 2)


def _turns(before: Trial, tried: Sequence[tuple[Change, Trial | None]]) -> tuple[Turn, ...]:
    turns = []
    for change, trial in tried:
        if trial is None:
            continue
        more = gain(before, trial)
        turns.append(
            Turn(
                key=change.key,
                before=change.before,
                after=change.after,
                also=change.also,
                prompts_per_s=trial.prediction.prompts_per_s,
                gain=more.mean,
                gain_at_least=more.at_least,
                learns_otherwise=change.learns_otherwise,
                why=_why(before.prediction, trial.prediction),
            )
        )
    return tuple(sorted(turns, key=lambda turn: -turn.gain))


def _why(before: Prediction, after: Prediction) -> str:
    """Where the time of a prompt goes that is won or lost: the part that changes most."""
    parts = {
        "waiting for groups": "wait_s",
        "draining the engine": "drain_s",
        "learning": "learn_s",
        "syncs": "sync_s",
        "checkpoints": "checkpoint_s",
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


def _shares(config: RunConfig, known: KnownCosts) -> Iterator[tuple[int, int]]:
    """Devices of engine and learner; none by hand, where nothing is said of how an engine gets slower."""
    costs = known.of(config)
    if costs is not None and costs.completions_per_prompt is not None:
        yield from ((engine, all_ - engine) for all_ in _DEVICES for engine in range(1, all_))


def _splits(config: RunConfig, shares: Sequence[tuple[int, int]], trials: Trials) -> tuple[Split, ...]:
    best: dict[int, Split] = {}
    for engine, learner in shares:
        trial = trials.of(config, partial(_spread, engine=engine, learner=learner))
        devices = engine + learner
        if trial is None:
            continue
        split = Split(devices, engine, learner, trial.prediction.prompts_per_s)
        best[devices] = max(best.get(devices, split), split, key=lambda each: each.prompts_per_s)
    return tuple(best.values())


def _spread(durations: Durations, engine: int, learner: int) -> Durations:
    """Groups and held-out problems spread over the engine's devices, tokens over the learner's."""
    return replace(
        durations,
        crowding=durations.crowding / engine,
        learn_s_per_prompt=durations.learn_s_per_prompt / learner,
        learn_s_per_token=durations.learn_s_per_token / learner,
        held_out_s=durations.held_out_s / engine,
    )


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
