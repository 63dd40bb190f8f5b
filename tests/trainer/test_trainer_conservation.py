"""Every kind of error in a run's records is found."""

import copy
import json
import re

import pytest

from trainer.config import RunConfig
from trainer.conservation import violations

CONFIG = RunConfig(max_staleness=1, prompts_per_optim_step=2, completions_per_prompt=3, max_steps=2)


def sound():
    """Two steps of two groups, and one filtered group."""
    records = []
    for number in range(5):
        records.append({"kind": "dispatch", "group": number, "version": 0})
        trained = (
            {"fate": "trained", "step": number // 2} if number < 4 else {"fate": "filtered", "step": None}
        )
        records.append(
            {
                "kind": "group",
                "group": number,
                "version_min": 0,
                "finished_s": 1.0,
                "prompt_tokens": 10,
                "completion_tokens": 7,
                **trained,
            }
        )
    for step in range(2):
        phases = {
            "wait_s": 1.0,
            "drain_s": 0.5,
            "learn_s": 2.0,
            "sync_s": 0.25,
            "checkpoint_s": 0,
            "other_s": 0.1,
        }
        records.append({"kind": "step", "step": step, "prompts": 2, "wall_s": 3.85, **phases})
    records.append(
        {
            "kind": "run_finished",
            "state": "succeeded",
            "engine_requests": 15,
            "engine_prompt_tokens": 150,
            "engine_completion_tokens": 35,
        }
    )
    return [{"attempt": 1, "t": 0.0, **record} for record in records]


def found(tmp_path, records):
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return violations(path, CONFIG)


def of(records, kind, **fields):
    return next(
        r for r in records if r["kind"] == kind and all(r[name] == value for name, value in fields.items())
    )


def test_a_sound_trace_has_no_violations(tmp_path):
    assert found(tmp_path, sound()) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r.remove(of(r, "group", group=4)), r"exactly one dispatch and one fate: \[4\]"),
        (lambda r: r.remove(of(r, "dispatch", group=4)), r"exactly one dispatch and one fate: \[4\]"),
        (lambda r: r.append(copy.deepcopy(of(r, "group", group=4))), r"one fate: \[4\]"),
        (lambda r: r.append(copy.deepcopy(of(r, "group", group=1))), r"not their prompts: \[0\]"),
        (lambda r: of(r, "group", group=1).update(step=1), r"not their prompts: \[0, 1\]"),
        (lambda r: of(r, "group", group=0).update(fate="filtered", step=None), r"not their prompts: \[0\]"),
        (lambda r: of(r, "step", step=1).update(prompts=3), r"not their prompts: \[1\]"),
        (lambda r: of(r, "group", group=3).update(version_min=-1), r"max_staleness = 1: \[3\]"),
        (lambda r: of(r, "step", step=1).update(learn_s=2.1), r"do not add up to wall_s: \[1\]"),
        (lambda r: of(r, "step", step=0).update(other_s=-0.4, wait_s=1.5), r"add up to wall_s: \[0\]"),
        (
            lambda r: of(r, "run_finished").update(engine_requests=14),
            "engine_requests: the engine counted 14, the groups hold 15",
        ),
        (
            lambda r: of(r, "run_finished").update(engine_prompt_tokens=50),
            "engine_prompt_tokens: the engine counted 50, the groups hold 150",
        ),
        (
            lambda r: of(r, "group", group=2).update(completion_tokens=8),
            "engine_completion_tokens: the engine counted 35, the groups hold 36",
        ),
    ],
)
def test_each_violation_is_found_and_says_where(tmp_path, spoil, message):
    records = sound()
    spoil(records)
    wrong = found(tmp_path, records)
    assert wrong
    assert any(re.search(message, line) for line in wrong), wrong


def test_a_step_that_an_interruption_cut_off_before_its_record_is_no_violation(tmp_path):
    records = sound()
    records.remove(of(records, "step", step=1))
    assert found(tmp_path, records) != []
    of(records, "run_finished").update(state="interrupted")
    assert found(tmp_path, records) == []
    records.remove(of(records, "step", step=0))
    assert found(tmp_path, records) == ["steps whose trained groups are not their prompts: [1]"]


def test_only_the_last_attempt_counts(tmp_path):
    records = sound()
    records.remove(of(records, "group", group=2))
    again = [{**record, "attempt": 2} for record in sound()]
    assert found(tmp_path, records + again) == []
    assert found(tmp_path, [{**record, "attempt": 3} for record in records] + again) != []


def test_groups_cut_off_may_have_cost_the_engine_more_than_the_others_hold_but_never_less(tmp_path):
    records = sound()
    of(records, "group", group=4).update(fate="aborted", finished_s=None, completion_tokens=0)
    assert found(tmp_path, records) == []
    of(records, "run_finished").update(engine_completion_tokens=27)
    assert found(tmp_path, records) == ["engine_completion_tokens: the engine counted 27, the groups hold 28"]
    of(records, "run_finished").update(
        engine_requests=None, engine_prompt_tokens=None, engine_completion_tokens=None
    )
    assert found(tmp_path, records) == []
