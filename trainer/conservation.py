"""What must add up at the end of a run, checked on its own trace. Torch-free."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.config import RunConfig
from trainer.records import Fate
from trainer.trace import read_records

Record = Mapping[str, Any]


@dataclass
class SurvivingTrace:
    """A trace without what later attempts superseded.

    Attributes:
        dispatches: every dispatch line by group.
        repeated: groups with more than one dispatch line.
        groups: the last line of each group, which is its fate.
        steps: step lines in order, one a step.
        finished: the `run_finished` line of each attempt that has one.
    """

    dispatches: dict[int, Record] = field(default_factory=dict)
    repeated: set[int] = field(default_factory=set)
    groups: dict[int, Record] = field(default_factory=dict)
    steps: dict[int, Record] = field(default_factory=dict)
    finished: dict[int, Record] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[Record]) -> "SurvivingTrace":
        """Sort out the records of a trace, in the order in which they were written."""
        trace = cls()
        for record in records:
            trace._take(record)
        return trace

    def _take(self, record: Record) -> None:
        match record["kind"]:
            case "dispatch":
                if record["group"] in self.dispatches:
                    self.repeated.add(record["group"])
                self.dispatches[record["group"]] = record
            case "group":
                self.groups[record["group"]] = record
            case "step":
                self.steps[record["step"]] = record
            case "run_finished":
                self.finished[record["attempt"]] = record
            case "resumed":
                self.steps = {n: step for n, step in self.steps.items() if n < record["from_step"]}
                self.groups = {
                    number: group
                    for number, group in self.groups.items()
                    if group["fate"] != Fate.TRAINED or group["step"] < record["from_step"]
                }


def violations(trace: Path, config: RunConfig, ending: Record | None = None) -> list[str]:
    """Everything in the trace of a finished run that does not add up; empty when all is well.

    Args:
        trace: the run's.
        config: its configuration.
        ending: the fields `attempt` and `engine_*` of the `run_finished` line that is still to be written.

    Checks: every dispatch has one fate; trained groups equal the steps' prompts; no group and no
    occurrence of a prompt is trained twice; no trained group is older than max_staleness; each step's
    phases add up to its wall time; the engine's counters equal the tokens and completions in the groups
    of every attempt that came to its end.
    """
    surviving = SurvivingTrace.of(read_records(trace))
    if ending is not None:
        surviving.finished[ending["attempt"]] = ending
    return [
        *_one_fate_each(surviving),
        *_trained_once(surviving),
        *_young_enough(surviving.groups.values(), config.max_staleness),
        *_phases_add_up(surviving.steps.values()),
        *_engine_agrees(surviving, config.completions_per_prompt),
    ]


def _one_fate_each(trace: SurvivingTrace) -> list[str]:
    wrong = sorted((trace.dispatches.keys() ^ trace.groups.keys()) | trace.repeated)
    return [f"groups without exactly one dispatch and one fate: {wrong[:10]}"] if wrong else []


def _trained_once(trace: SurvivingTrace) -> list[str]:
    trained = [record for record in trace.groups.values() if record["fate"] == Fate.TRAINED]
    per_step = Counter(record["step"] for record in trained)
    expected = {number: record["prompts"] for number, record in trace.steps.items()}
    wrong = sorted(
        step for step in per_step.keys() | expected.keys() if per_step.get(step) != expected.get(step)
    )
    found = [f"steps whose trained groups are not their prompts: {wrong[:10]}"] if wrong else []
    occurrences = Counter(
        (record["prompt_id"], trace.dispatches[record["group"]]["epoch"])
        for record in trained
        if record["group"] in trace.dispatches
    )
    if twice := sorted(prompt for prompt, count in occurrences.items() if count > 1):
        found.append(f"prompts trained twice in one epoch: {twice[:10]}")
    return found


def _young_enough(groups: Iterable[Record], max_staleness: int) -> list[str]:
    old = [
        record["group"]
        for record in groups
        if record["fate"] == Fate.TRAINED and record["step"] - record["version_min"] > max_staleness
    ]
    return [f"groups trained at more than max_staleness = {max_staleness}: {old[:10]}"] if old else []


def _phases_add_up(steps: Iterable[Record]) -> list[str]:
    phases = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")
    wrong = [
        record["step"]
        for record in steps
        if abs(sum(record[phase] for phase in phases) - record["wall_s"]) > 1e-3 or record["other_s"] < -1e-3
    ]
    return [f"steps whose phases do not add up to wall_s: {wrong[:10]}"] if wrong else []


def _engine_agrees(trace: SurvivingTrace, completions_per_prompt: int) -> list[str]:
    found: list[str] = []
    for attempt, finished in sorted(trace.finished.items()):
        if finished["engine_requests"] is None:
            continue  # the engine was gone
        sent = {number for number, record in trace.dispatches.items() if record["attempt"] == attempt}
        groups = [record for number, record in trace.groups.items() if number in sent]
        done = [record for record in groups if record["finished_s"] is not None]
        # The engine may count other work for groups that failed or were aborted, but never less.
        exact = len(done) == len(sent)
        ours = {
            "engine_requests": len(done) * completions_per_prompt,
            "engine_prompt_tokens": sum(record["prompt_tokens"] for record in done) * completions_per_prompt,
            "engine_completion_tokens": sum(record["completion_tokens"] for record in groups),
        }
        found += [
            f"attempt {attempt}: {name}: the engine counted {finished[name]}, the groups hold {count}"
            for name, count in ours.items()
            if finished[name] < count or (exact and finished[name] != count)
        ]
    return found
