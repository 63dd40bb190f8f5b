"""What must add up at the end of a run, checked on its own trace. Torch-free."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from trainer.config import RunConfig
from trainer.records import Fate, RunState


def violations(trace: Path, config: RunConfig) -> list[str]:
    """Everything in the last attempt of a trace that does not add up; empty when all is well.

    Checks: every dispatch has one fate; trained groups equal the steps' prompts and none is trained
    twice; no trained group is older than max_staleness; each step's phases add up to its wall time;
    the engine's counters equal the tokens and completions in the groups.
    """
    records = [json.loads(line) for line in trace.read_text().splitlines()]
    attempt = max(record["attempt"] for record in records)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        if record["attempt"] == attempt:
            kinds.setdefault(record["kind"], []).append(record)
    groups, steps = kinds.get("group", []), kinds.get("step", [])
    return [
        *_one_fate_each(kinds.get("dispatch", []), groups),
        *_trained_once(groups, steps, cut_off=not _succeeded(kinds.get("run_finished", []))),
        *_young_enough(groups, config.max_staleness),
        *_phases_add_up(steps),
        *_engine_agrees(groups, kinds.get("run_finished", []), config.completions_per_prompt),
    ]


def _one_fate_each(dispatches: list[dict[str, Any]], groups: list[dict[str, Any]]) -> list[str]:
    sent = Counter(record["group"] for record in dispatches)
    ended = Counter(record["group"] for record in groups)
    wrong = sorted(number for number in sent | ended if sent[number] != 1 or ended[number] != 1)
    return [f"groups without exactly one dispatch and one fate: {wrong[:10]}"] if wrong else []


def _succeeded(finished: list[dict[str, Any]]) -> bool:
    return bool(finished) and finished[-1]["state"] == RunState.SUCCEEDED


def _trained_once(groups: list[dict[str, Any]], steps: list[dict[str, Any]], cut_off: bool) -> list[str]:
    trained = Counter(record["step"] for record in groups if record["fate"] == Fate.TRAINED)
    expected = {record["step"]: record["prompts"] for record in steps}
    if cut_off:  # between the optimizer step and the end of its sync; a step's record comes last
        trained.pop(max(expected, default=-1) + 1, None)
    if dict(trained) == expected:
        return []
    wrong = sorted(
        step for step in trained.keys() | expected.keys() if trained.get(step) != expected.get(step)
    )
    return [f"steps whose trained groups are not their prompts: {wrong[:10]}"]


def _young_enough(groups: list[dict[str, Any]], max_staleness: int) -> list[str]:
    old = [
        record["group"]
        for record in groups
        if record["fate"] == Fate.TRAINED and record["step"] - record["version_min"] > max_staleness
    ]
    return [f"groups trained at more than max_staleness = {max_staleness}: {old[:10]}"] if old else []


def _phases_add_up(steps: list[dict[str, Any]]) -> list[str]:
    phases = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")
    wrong = [
        record["step"]
        for record in steps
        if abs(sum(record[phase] for phase in phases) - record["wall_s"]) > 1e-3 or record["other_s"] < -1e-3
    ]
    return [f"steps whose phases do not add up to wall_s: {wrong[:10]}"] if wrong else []


def _engine_agrees(
    groups: list[dict[str, Any]], finished: list[dict[str, Any]], completions_per_prompt: int
) -> list[str]:
    done = [record for record in groups if record["finished_s"] is not None]
    if not finished or finished[-1]["engine_requests"] is None:
        return []  # cut off, or the engine is gone
    # The engine also counts what it did for groups that failed or were aborted.
    lost_some = len(done) < len(groups)
    ours = {
        "engine_requests": len(done) * completions_per_prompt,
        "engine_prompt_tokens": sum(record["prompt_tokens"] for record in done) * completions_per_prompt,
        "engine_completion_tokens": sum(record["completion_tokens"] for record in done),
    }
    return [
        f"{name}: the engine counted {finished[-1][name]}, the groups hold {count}"
        for name, count in ours.items()
        if finished[-1][name] != count and not (lost_some and finished[-1][name] > count)
    ]
