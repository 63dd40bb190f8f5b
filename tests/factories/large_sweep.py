"""SYNTHETIC sweeps of a thousand runs, written fast: for benchmarks, and for tests of scale.

Lines are made from string templates of the records the trainer writes, so every line is valid; the figures
follow the law of `sweep_factory`. Nothing here is a measurement.
"""

import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from factories.sweep_factory import (
    FILL_S,
    LEARN_S_PER_PROMPT,
    OVERHEAD_S,
    REFERENCE_ARMS,
    STARTED_UNIX,
    Arm,
    write_lm_eval,
)
from numpy.random import Generator

from trainer.config import RunConfig, RunFile
from trainer.paths import RunPaths, SweepPaths
from trainer.records import RunState, RunStatus

_TASK = "arithmetic_cot"
_QUESTIONS = 1000
"""Of an evaluation without samples."""

_STEP = (
    '{"v":1,"attempt":1,"t":%s,"kind":"step","step":%d,"policy_version":%d,"start_s":%s,"wall_s":%s,'
    '"wait_s":%s,"drain_s":0.0,"learn_s":%s,"sync_s":%s,"checkpoint_s":0.0,"other_s":%s,"prompts":%d,'
    '"completions":%d,"prompt_tokens":%d,"completion_tokens":%d,"reward_mean":%s,"reward_std":0.4,'
    '"loss":%s,"grad_norm":0.5312,"lr":%s,"kl":null,"entropy":0.6125,"clip_fraction":%s,"ratio_mean":1.0001,'
    '"ratio_max":1.5,"ratio_min":0.75,"ess":%s,"logprob_gap_mean":0.0021,"logprob_gap_max":0.1,'
    '"logprob_gap_p999":0.05,"corrected_fraction":null,"off_policy_steps_mean":%s,"off_policy_steps_max":%d,'
    '"in_flight_steps_mean":0.0,"in_queue_steps_mean":0.0,"queue_s_mean":0.0,"engine_idle_s":0.5,'
    '"truncated_fraction":0.0,"filtered_groups":2,"evicted_groups":0,"aborted_groups":0,"failed_groups":0}\n'
)
_DISPATCH = (
    '{"v":1,"attempt":1,"t":%s,"kind":"dispatch","group":%d,"prompt_id":"p%d","epoch":0,"version":%d}\n'
)
_GROUP = (
    '{"v":1,"attempt":1,"t":%s,"kind":"group","group":%d,"prompt_id":"p%d","version_min":%d,"version_max":%d,'
    '"finished_version":%d,"dispatched_s":%s,"finished_s":%s,"verified_s":%s,"consumed_s":%s,"step":%d,'
    '"fate":"trained","reward_mean":0.5,"prompt_tokens":45,"completion_tokens":%d,"truncated":0}\n'
)
_SYNC = '{"v":1,"attempt":1,"t":%s,"kind":"sync","version":%d,"bytes":1700000,"wall_s":0.05,"in_flight":0}\n'


def write_large_sweep(
    runs_dir: Path,
    runs: int = 1000,
    steps: int = 1000,
    groups_per_step: int = 0,
    shots: Sequence[int] = (0, 4, 8),
    questions: int = 0,
    name: str = "large",
) -> Path:
    """Writes one finished sweep of the reference's arms, each with as many seeds as it takes.

    Args:
        runs_dir: the runs directory, created if needed.
        runs: how many.
        steps: optimizer steps of every run.
        groups_per_step: groups of each step that have a `dispatch` and a `group` line.
        shots: of the evaluations of each run and of the base model.
        questions: in each evaluation that has samples; 0: evaluations of 1,000 questions, without samples.
        name: the sweep's name.

    Returns:
        The sweep's folder.
    """
    rng = np.random.default_rng(0)
    sweep = SweepPaths(runs_dir / name)
    sweep.root.mkdir(parents=True)
    planned = [(REFERENCE_ARMS[i % 5], i // 5) for i in range(runs)]
    files = [_run_file(name, arm, seed, steps) for arm, seed in planned]
    sweep.manifest.write_text(json.dumps(_manifest(name, planned, files)))
    for number, (file, (arm, _)) in enumerate(zip(files, planned, strict=True)):
        paths = sweep.run(file.run_name)
        _write_run(rng, paths, file, arm, groups_per_step, started=STARTED_UNIX + 100_000.0 * number)
        for count in shots:
            _evaluate(rng, paths.evaluation(f"step_{steps:06d}", _TASK, count), count, questions, 0.8)
    for count in shots:
        _evaluate(rng, sweep.base_evaluation("builtin:tiny", _TASK, count), count, questions, 0.5)
    return sweep.root


def _run_file(sweep: str, arm: Arm, seed: int, steps: int) -> RunFile:
    config = RunConfig.model_validate(arm.config(steps, seed))
    run_name = arm.run_name(seed, several=True)
    return RunFile(sweep=sweep, run_name=run_name, run_id=config.run_id(), profile="synthetic", config=config)


def _manifest(name: str, planned: Sequence[tuple[Arm, int]], files: Sequence[RunFile]) -> dict[str, Any]:
    return {
        "version": 1,
        "name": name,
        "profile": "synthetic",
        "created_unix": STARTED_UNIX,
        "spec": {"name": name},
        "baseline": "synchronous",
        "reference": {"max_staleness": 0, "prompts_per_optim_step": 16},
        "margin": 2.0,
        "base_models": ["builtin:tiny"],
        "runs": [
            {
                "run_name": file.run_name,
                "run_id": file.run_id,
                "state": "planned",
                "reason": None,
                "config": file.config.model_dump(mode="json"),
                "label": f"{arm.label} seed {seed}",
            }
            for file, (arm, seed) in zip(files, planned, strict=True)
        ],
        "environment": {"note": "synthetic"},
        "git": {},
    }


def _write_run(
    rng: Generator, paths: RunPaths, file: RunFile, arm: Arm, groups_per_step: int, *, started: float
) -> None:
    steps = file.config.max_steps
    paths.root.mkdir(parents=True)
    paths.config.write_text(file.model_dump_json())
    status = RunStatus(
        state=RunState.SUCCEEDED, attempt=1, heartbeat=started + 90_000, step=steps, max_steps=steps
    )
    paths.status.write_text(status.model_dump_json())
    with paths.trace.open("w") as trace:
        trace.write(
            f'{{"v":1,"attempt":1,"t":0.0,"kind":"run_started","run_id":"{file.run_id}",'
            f'"sweep":"{file.sweep}","run_name":"{file.run_name}","model":"builtin:tiny",'
            f'"engine":"synthetic 0","max_steps":{steps},"unix_time":{started}}}\n'
        )
        trace.writelines(_step_lines(rng, arm, steps, groups_per_step))
        trace.write(
            f'{{"v":1,"attempt":1,"t":90000.0,"kind":"run_finished","state":"succeeded","reason":null,'
            f'"policy_version":{steps},"wall_s":90000.0,"engine_requests":null,"engine_prompt_tokens":null,'
            f'"engine_completion_tokens":null}}\n'
        )


def _step_lines(rng: Generator, arm: Arm, steps: int, groups_per_step: int) -> Iterator[str]:
    """The lines of all steps in the order of their time; figures are rounded to microseconds."""
    batch, interval = arm.prompts_per_optim_step, arm.prompts_per_rollout_sync // arm.prompts_per_optim_step
    number = np.arange(steps)
    overlapped = (number > 0) & (arm.max_staleness > 0) & ((interval == 1) | (number % interval > 0))
    age = np.where(overlapped, np.minimum(arm.max_staleness, number), 0)
    synced = (number + 1) % interval == 0
    wait = np.where(overlapped, 0.01, FILL_S * rng.lognormal(0, 0.02, steps)).round(6)
    learn = (LEARN_S_PER_PROMPT * batch * rng.lognormal(0, 0.02, steps)).round(6)
    sync = np.where(synced, 0.05, 0.0)
    wall = wait + learn + sync + OVERHEAD_S
    end = np.cumsum(wall)
    tokens = rng.integers(200, 400, steps) * batch
    reward = np.clip(0.8 - 0.35 * np.exp(-(number + 1) / 15) + rng.normal(0, 0.03, steps), 0, 1).round(4)
    loss = rng.normal(0, 0.01, steps).round(6)
    columns = (age, synced, wait, learn, sync, wall, end, tokens, reward, loss)
    for step, (s, synced_now, *row) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        wait_s, learn_s, sync_s, wall_s, end_s, total, reward_mean, loss_value = row
        start_s, version = end_s - wall_s, step - s
        for group in range(step * groups_per_step, (step + 1) * groups_per_step):
            taken = start_s + wait_s
            yield _DISPATCH % (start_s, group, group, version)
            yield _GROUP % (
                *(end_s, group, group, version, version, version, start_s, taken, taken, taken, step),
                total // batch,
            )
        yield _STEP % (
            *(end_s, step, step + 1, start_s, wall_s, wait_s, learn_s, sync_s, OVERHEAD_S, batch),
            *(8 * batch, 45 * batch, total, reward_mean, loss_value, arm.lr, 0.01 * s),
            *(0.99 if s == 0 else 0.95, float(s), s),
        )
        if synced_now:
            yield _SYNC % (end_s, step + 1)


def _evaluate(rng: Generator, path: Path, shots: int, questions: int, skill: float) -> None:
    if questions:
        right = rng.random(questions) < skill
        write_lm_eval(path, _TASK, shots, {"strict-match": right, "flexible-extract": right})
        return
    result = json.loads(_result_without_samples(shots))
    share = rng.binomial(_QUESTIONS, skill) / _QUESTIONS
    for filter_name in ("strict-match", "flexible-extract"):
        metrics = result["results"][_TASK]
        metrics[f"exact_match,{filter_name}"] = share
        metrics[f"exact_match_stderr,{filter_name}"] = (share * (1 - share) / (_QUESTIONS - 1)) ** 0.5
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))


@cache
def _result_without_samples(shots: int) -> str:
    """One result as `write_lm_eval` writes it: the samples of every run would take longer than the traces."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint" / f"{_TASK}_{shots}shot.json"
        right = np.arange(_QUESTIONS) % 2 == 0
        write_lm_eval(path, _TASK, shots, {"strict-match": right, "flexible-extract": right})
        return path.read_text()
