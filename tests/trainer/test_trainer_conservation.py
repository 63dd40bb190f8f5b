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
        prompt = {"prompt_id": f"p{number}", "epoch": 0}
        records.append({"kind": "dispatch", "group": number, "version": 0, **prompt})
        trained = (
            {"fate": "trained", "step": number // 2} if number < 4 else {"fate": "filtered", "step": None}
        )
        records.append(
            {
                "kind": "group",
                "group": number,
                "prompt_id": f"p{number}",
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
        (lambda r: r.append(copy.deepcopy(of(r, "dispatch", group=4))), r"one fate: \[4\]"),
        (
            lambda r: (
                of(r, "group", group=3).update(prompt_id="p0"),
                of(r, "dispatch", group=3).update(prompt_id="p0"),
            ),
            r"prompts trained twice in one epoch: \[\('p0', 0\)\]",
        ),
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


def test_a_prompt_may_be_trained_again_in_another_epoch(tmp_path):
    records = sound()
    of(records, "group", group=3).update(prompt_id="p0")
    of(records, "dispatch", group=3).update(prompt_id="p0", epoch=1)
    assert found(tmp_path, records) == []


def resumed(records, from_step):
    """A second attempt, cut off attempts' records before it."""
    again = [{"kind": "resumed", "from_step": from_step}]
    return records + [{"attempt": 2, "t": 1.0, **record} for record in again]


def test_what_a_resumed_attempt_superseded_does_not_count(tmp_path):
    cut_off = [record for record in sound() if record["kind"] != "run_finished"]
    records = resumed(cut_off, from_step=1)
    # Group 2 waited in the checkpoint and is trained again; group 3 was lost, and sent again as group 5.
    lost, again = copy.deepcopy(of(records, "group", group=3)), copy.deepcopy(of(records, "group", group=3))
    lost.update(attempt=2, fate="discarded", step=None)
    again.update(attempt=2, group=5)
    restored = {**of(records, "group", group=2), "attempt": 2}
    dispatch = {**of(records, "dispatch", group=3), "attempt": 2, "group": 5}
    step = {**of(records, "step", step=1), "attempt": 2}
    records += [lost, dispatch, restored, again, step]
    assert found(tmp_path, records) == []
    without = [record for record in records if record is not restored]
    assert found(tmp_path, without) == [
        "groups without exactly one dispatch and one fate: [2]",
        "steps whose trained groups are not their prompts: [1]",
    ]
    kept = [record for record in records if record is not lost]
    assert found(tmp_path, kept) == ["groups without exactly one dispatch and one fate: [3]"]


def test_the_engines_count_is_compared_attempt_by_attempt(tmp_path):
    first = sound()
    of(first, "run_finished").update(state="interrupted")
    records = resumed(first, from_step=2)
    records.append({**of(first, "run_finished"), "attempt": 2, "engine_requests": 3})
    assert found(tmp_path, records) == [
        "attempt 2: engine_requests: the engine counted 3, the groups hold 0",
        "attempt 2: engine_prompt_tokens: the engine counted 150, the groups hold 0",
        "attempt 2: engine_completion_tokens: the engine counted 35, the groups hold 0",
    ]


def test_groups_cut_off_may_have_cost_the_engine_more_than_the_others_hold_but_never_less(tmp_path):
    records = sound()
    of(records, "group", group=4).update(fate="aborted", finished_s=None, completion_tokens=0)
    assert found(tmp_path, records) == []
    of(records, "run_finished").update(engine_completion_tokens=27)
    assert found(tmp_path, records) == [
        "attempt 1: engine_completion_tokens: the engine counted 27, the groups hold 28"
    ]
    of(records, "run_finished").update(
        engine_requests=None, engine_prompt_tokens=None, engine_completion_tokens=None
    )
    assert found(tmp_path, records) == []
