"""SYNTHETIC sweeps for tests: folders as `sweepctl run` leaves them, with made-up but consistent numbers.

Nothing here is a measurement. Times follow the reference's simple law (14 s to fill a batch, 1.75 s of
learning a prompt, 0.6 s of overhead) with 2 % noise; rewards and accuracies are drawn from a curve.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from factories.prediction_factory import (
    FILL_S,
    LEARN_S_PER_PROMPT,
    OVERHEAD_S,
    STARTED_UNIX,
    SYNC_S,
    WRONG,
    by_the_law,
)
from factories.rollout_factory import write_log, write_rollouts
from numpy.random import Generator

from sweepctl.labels import of_seed
from trainer.config import RunConfig, RunFile
from trainer.paths import RunPaths, SweepPaths, samples_path
from trainer.records import (
    Checkpoint,
    Dispatch,
    Fate,
    Group,
    Record,
    Resumed,
    RunFinished,
    RunStarted,
    RunState,
    RunStatus,
    Span,
    Step,
    Sync,
)

SHOTS = (0, 4, 8)


@dataclass(frozen=True)
class Arm:
    """One row of the reference's table of experiments."""

    label: str
    max_staleness: int
    prompts_per_optim_step: int
    prompts_per_rollout_sync: int
    lr: float

    def run_name(self, seed: int, several: bool) -> str:
        name = (
            f"s{self.max_staleness}_opt{self.prompts_per_optim_step}"
            f"_sync{self.prompts_per_rollout_sync}_lr{self.lr:g}"
        )
        return f"{name}_seed{seed}" if several else name

    def config(self, steps: int, seed: int) -> dict[str, Any]:
        return {
            "model": "builtin:tiny",
            "task": {"name": "arithmetic"},
            "seed": seed,
            "max_steps": steps,
            "max_staleness": self.max_staleness,
            "prompts_per_optim_step": self.prompts_per_optim_step,
            "prompts_per_rollout_sync": self.prompts_per_rollout_sync,
            "optim": {"lr": self.lr},
        }


REFERENCE_ARMS = (
    Arm("Exp1", 0, 16, 16, 1e-4),
    Arm("Exp2", 1, 16, 16, 1e-4),
    Arm("Exp3", 0, 8, 8, 5e-5),
    Arm("Exp4", 1, 8, 8, 5e-5),
    Arm("Exp5", 1, 8, 16, 5e-5),
)
INFEASIBLE_ARM = Arm("Exp6", 0, 8, 16, 5e-5)


def write_synthetic_sweep(
    runs_dir: Path,
    name: str = "staleness",
    *,
    steps: int = 40,
    seed: int = 0,
    arms: Sequence[Arm] = REFERENCE_ARMS,
    finished: bool = True,
    seeds: Sequence[int] = (0,),
    questions: int = 200,
    learns: bool = True,
) -> Path:
    """Writes one sweep and returns its folder.

    Args:
        runs_dir: the runs directory, created if needed.
        name: the sweep's name.
        steps: optimizer steps of every run.
        seed: of the noise.
        arms: the arms; one infeasible arm is always planned beside them.
        finished: else the last run is pending and the one before it half done and running.
        seeds: training seeds, crossed with the arms, outermost.
        questions: in each evaluation.
        learns: whether the made-up arms end better than the base model.
    """
    rng = np.random.default_rng(seed)
    sweep = SweepPaths(runs_dir / name)
    sweep.root.mkdir(parents=True)
    planned = [(arm, run_seed) for run_seed in seeds for arm in arms]
    _write_manifest(sweep, arms, steps, seeds)
    exam = _Exam(rng, questions)
    exam.write(rng, 0.5, lambda shots: sweep.base_evaluation("builtin:tiny", "arithmetic_cot", shots))
    for place, (arm, run_seed) in enumerate(planned):
        left = len(planned) - place
        paths = sweep.run(arm.run_name(run_seed, len(seeds) > 1))
        if not finished and left == 1:
            continue
        running = not finished and left == 2
        config = RunConfig.model_validate(arm.config(steps, run_seed))
        file = RunFile(
            sweep=name, run_name=paths.root.name, run_id=config.run_id(), profile="synthetic", config=config
        )
        started = STARTED_UNIX + 3600.0 * place  # one after the other: no run slows another
        _write_run(rng, paths, file, done=steps // 2 if running else steps, started=started)
        if not running:
            checkpoint = f"step_{steps:06d}"
            skill = 0.8 if learns else 0.5
            exam.write(
                rng, skill, lambda shots, p=paths, c=checkpoint: p.evaluation(c, "arithmetic_cot", shots)
            )
    return sweep.root


def _write_manifest(sweep: SweepPaths, arms: Sequence[Arm], steps: int, seeds: Sequence[int]) -> None:
    runs: list[dict[str, Any]] = []
    for seed in seeds:
        for arm in arms:
            config = RunConfig.model_validate(arm.config(steps, seed))
            runs.append(
                {
                    "run_name": arm.run_name(seed, len(seeds) > 1),
                    "run_id": config.run_id(),
                    "state": "planned",
                    "reason": None,
                    "config": config.model_dump(mode="json"),
                    "label": arm.label if len(seeds) == 1 else of_seed(arm.label, seed),
                    "prediction": by_the_law(config, **WRONG.get(arm.label, {})).model_dump(mode="json"),
                }
            )
    for run in runs:
        twin = {"max_staleness": 0, "prompts_per_rollout_sync": run["config"]["prompts_per_optim_step"]}
        of_twin = [other["prediction"] for other in runs if other["config"] == run["config"] | twin]
        if of_twin and of_twin[0] is not run["prediction"]:
            run["prediction"]["speedup"] = run["prediction"]["prompts_per_s"] / of_twin[0]["prompts_per_s"]
    runs.append(
        {
            "run_name": INFEASIBLE_ARM.run_name(seeds[0], len(seeds) > 1),
            "state": "infeasible",
            "reason": "k - 1 > max_staleness: k = 16 / 8 = 2, and 2 - 1 = 1 > 0",
            "config": INFEASIBLE_ARM.config(steps, seeds[0]),
            "label": INFEASIBLE_ARM.label,
        }
    )
    manifest = {
        "version": 1,
        "name": sweep.name,
        "profile": "synthetic",
        "created_unix": STARTED_UNIX,
        "spec": {"name": sweep.name},
        "baseline": "synchronous",
        "reference": {"max_staleness": 0, "prompts_per_optim_step": 16},
        "margin": 2.0,
        "base_models": ["builtin:tiny"],
        "runs": runs,
        "environment": {"note": "synthetic"},
        "git": {},
    }
    sweep.manifest.write_text(json.dumps(manifest))


def _write_run(rng: Generator, paths: RunPaths, file: RunFile, *, done: int, started: float) -> None:
    """A run that has done so many steps: all of them, or it is still running."""
    running = done < file.config.max_steps
    paths.root.mkdir(parents=True)
    paths.config.write_text(file.model_dump_json())
    status = RunStatus(
        state=RunState.RUNNING if running else RunState.SUCCEEDED,
        attempt=1,
        heartbeat=started + 3500,
        step=done,
        max_steps=file.config.max_steps,
    )
    paths.status.write_text(status.model_dump_json())
    records = list(synthetic_trace(rng, file, done, finish=not running, started_unix=started))
    write_trace(paths.trace, records)
    write_rollouts(paths.rollouts, records, file.config.completions_per_prompt)
    write_log(paths.log, records, file.config.max_steps)


def write_trace(path: Path, records: Sequence[Record]) -> None:
    """Writes records as `TraceWriter` does, in the order of their time."""
    ordered = sorted(records, key=lambda record: record.t)
    path.write_text("".join(record.model_dump_json() + "\n" for record in ordered))


def synthetic_trace(
    rng: Generator,
    file: RunFile,
    steps: int,
    *,
    finish: bool,
    attempt: int = 1,
    first_group: int = 0,
    start_s: float = 0.0,
    started_unix: float = STARTED_UNIX,
) -> Iterator[Record]:
    """Records of a whole attempt; a later one starts at step 0 again, as the trainer does."""
    config, group = file.config, first_group
    interval, now = config.schedule.sync_interval_steps, start_s
    yield RunStarted(
        attempt=attempt,
        t=start_s,
        run_id=file.run_id,
        sweep=file.sweep,
        run_name=file.run_name,
        model=config.model,
        engine="synthetic 0",
        max_steps=config.max_steps,
        unix_time=started_unix,
    )
    if attempt > 1:
        yield Resumed(attempt=attempt, t=start_s, from_step=0)
    requests = completion_tokens = prompt_tokens = 0
    for step in range(steps):
        groups, timing = _one_step(rng, config, step, first=group, now=now, attempt=attempt)
        group += len(groups) // 2
        yield from groups
        yield from _step_records(rng, config, timing, groups, step=step, now=now, attempt=attempt)
        now += timing.wall_s
        lines = [record for record in groups if isinstance(record, Group)]
        requests += config.completions_per_prompt * len(lines)
        completion_tokens += sum(line.completion_tokens for line in lines)
        prompt_tokens += config.completions_per_prompt * sum(line.prompt_tokens for line in lines)
        if (step + 1) % interval == 0:
            yield Sync(attempt=attempt, t=now, version=step + 1, bytes=1_700_000, wall_s=SYNC_S, in_flight=0)
    if finish:
        yield Checkpoint(attempt=attempt, t=now, step=steps, path=f"step_{steps:06d}", bytes=10, wall_s=0.1)
        yield RunFinished(
            attempt=attempt,
            t=now + 0.1,
            state=RunState.SUCCEEDED,
            reason=None,
            policy_version=steps,
            wall_s=now + 0.1,
            engine_requests=requests,
            engine_prompt_tokens=prompt_tokens,
            engine_completion_tokens=completion_tokens,
        )


@dataclass(frozen=True)
class _Timing:
    wait_s: float
    learn_s: float
    sync_s: float
    other_s: float
    age: int

    @property
    def wall_s(self) -> float:
        return self.wait_s + self.learn_s + self.sync_s + self.other_s


def _one_step(
    rng: Generator, config: RunConfig, step: int, *, first: int, now: float, attempt: int
) -> tuple[list[Record], _Timing]:
    """A step's groups, about one in five filtered, and how long the learner took."""
    batch, interval = config.prompts_per_optim_step, config.schedule.sync_interval_steps
    # Overlapped: generated while the step before was trained, so nothing to wait for.
    overlapped = step > 0 and config.max_staleness > 0 and (interval == 1 or step % interval > 0)
    age = min(config.max_staleness, step) if overlapped else 0
    timing = _Timing(
        wait_s=0.01 if overlapped else FILL_S * rng.lognormal(0, 0.02),
        learn_s=LEARN_S_PER_PROMPT * batch * rng.lognormal(0, 0.02),
        sync_s=SYNC_S if (step + 1) % interval == 0 else 0.0,
        other_s=OVERHEAD_S,
        age=age,
    )
    fates = [Fate.TRAINED] * batch + [Fate.FILTERED] * int(rng.binomial(batch, 0.2))
    dispatched, taken = max(0.0, now - FILL_S * age), now + timing.wait_s
    records: list[Record] = []
    for number, fate in enumerate(fates, start=first):
        trained = fate is Fate.TRAINED
        records.append(
            Dispatch(
                attempt=attempt,
                t=dispatched,
                group=number,
                prompt_id=f"p{number}",
                epoch=0,
                version=step - age,
            )
        )
        records.append(
            Group(
                attempt=attempt,
                t=taken,
                group=number,
                prompt_id=f"p{number}",
                version_min=step - age,
                version_max=step - age,
                dispatched_s=dispatched,
                finished_s=taken - 0.01,
                verified_s=taken - 0.005,
                consumed_s=taken if trained else None,
                step=step if trained else None,
                fate=fate,
                reward_mean=0.5 if trained else 1.0,
                prompt_tokens=45,
                completion_tokens=int(rng.integers(200, 400)),
                truncated=0,
            )
        )
    return records, timing


def _step_records(
    rng: Generator,
    config: RunConfig,
    timing: _Timing,
    groups: list[Record],
    *,
    step: int,
    now: float,
    attempt: int,
) -> Iterator[Record]:
    end = now + timing.wall_s
    trained = [group for group in groups if isinstance(group, Group) and group.fate is Fate.TRAINED]
    spans = [
        ("learner", "wait", now, now + timing.wait_s),
        ("learner", "learn", now + timing.wait_s, now + timing.wait_s + timing.learn_s),
        ("engine", "generate", now, now + min(FILL_S, timing.wall_s)),
        ("engine", "idle:admission", now + min(FILL_S, timing.wall_s), end),
    ]
    for lane, name, start, stop in spans:
        yield Span(attempt=attempt, t=end, lane=lane, name=name, start_s=start, end_s=stop, step=step)
    progress = 1 - float(np.exp(-(step + 1) / 15))
    yield Step(
        attempt=attempt,
        t=end,
        step=step,
        policy_version=step + 1,
        start_s=now,
        wall_s=timing.wall_s,
        wait_s=timing.wait_s,
        drain_s=0.0,
        learn_s=timing.learn_s,
        sync_s=timing.sync_s,
        checkpoint_s=0.0,
        other_s=timing.other_s,
        prompts=len(trained),
        completions=len(trained) * config.completions_per_prompt,
        prompt_tokens=sum(group.prompt_tokens for group in trained),
        completion_tokens=sum(group.completion_tokens for group in trained),
        reward_mean=float(np.clip(0.45 + 0.35 * progress + rng.normal(0, 0.03), 0, 1)),
        reward_std=0.4,
        loss=0.01,
        grad_norm=0.5,
        lr=config.optim.lr,
        kl=None,
        entropy=0.6,
        clip_fraction=0.01 * timing.age,
        ratio_mean=1.0,
        ratio_max=1.5,
        ess=0.99 if timing.age == 0 else 0.95,
        logprob_gap_mean=0.002,
        logprob_gap_max=0.1,
        off_policy_steps_mean=float(timing.age),
        off_policy_steps_max=timing.age,
        truncated_fraction=0.0,
        filtered_groups=len(groups) // 2 - len(trained),
        engine_idle_s=max(0.0, timing.wall_s - FILL_S),
    )


class _Exam:
    """Made-up evaluations in lm-eval's own format; questions have a difficulty that all models share."""

    def __init__(self, rng: Generator, questions: int) -> None:
        self._difficulty = rng.normal(0, 1, questions)

    def write(self, rng: Generator, skill: float, place: Any) -> None:
        """Writes one result and its samples per number of shots; `place` maps shots to the file."""
        for shots in SHOTS:
            ability = float(np.log(skill / (1 - skill))) * 1.3 - 0.02 * shots
            chance = 1 / (1 + np.exp(-(ability + self._difficulty)))
            strict = rng.random(len(chance)) < chance
            answers = {"strict-match": strict, "flexible-extract": strict | (rng.random(len(chance)) < 0.05)}
            write_lm_eval(place(shots), "arithmetic_cot", shots, answers)


def write_lm_eval(path: Path, task: str, shots: int, answers: dict[str, Any], **changes: Any) -> None:
    """One lm-eval result with its samples, from right and wrong answers per filter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(next(iter(answers.values())))
    metrics: dict[str, Any] = {"alias": task}
    for filter_name, right in answers.items():
        mean = float(np.mean(right))
        metrics[f"exact_match,{filter_name}"] = mean
        metrics[f"exact_match_stderr,{filter_name}"] = float(np.sqrt(mean * (1 - mean) / (count - 1)))
    result = {
        "results": {task: metrics},
        "configs": {
            task: {"dataset_path": task, "generation_kwargs": {"do_sample": False, "max_gen_toks": 128}}
        },
        "versions": {task: 1.0},
        "n-shot": {task: shots},
        "higher_is_better": {task: {"exact_match": True}},
        "n-samples": {task: {"original": count, "effective": count}},
        "config": {
            "model": "local-completions",
            "model_args": {"model": path.parts[-3], "dtype": "bfloat16"},
            "limit": None,
        },
        "max_length": 1024,
        **changes,
    }
    path.write_text(json.dumps(result))
    with samples_path(path).open("w") as file:
        for filter_name, right in answers.items():
            for doc_id, correct in enumerate(right):
                sample = {
                    "doc_id": doc_id,
                    "doc_hash": f"hash{doc_id}",
                    "target": str(doc_id),
                    "filter": filter_name,
                    "filtered_resps": [str(doc_id) if correct else "[invalid]"],
                    "exact_match": float(correct),
                }
                file.write(json.dumps(sample) + "\n")
