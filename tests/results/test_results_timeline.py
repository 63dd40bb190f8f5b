"""What lanes did in a range of steps, against spans written by hand and counts made by brute force."""

import numpy as np
import pandas as pd
import pytest
from factories.sweep_factory import REFERENCE_ARMS, synthetic_trace, write_trace
from hypothesis import given, settings
from hypothesis import strategies as st

from results.ingest import ingest
from results.report.snapshot import snapshot
from results.store import Store, records
from results.tables.timeline import (
    _at_once,
    count_spans,
    fitting_last,
    lane_sentence,
    lane_shares,
    timeline,
)
from trainer.config import RunConfig, RunFile
from trainer.records import Dispatch, Fate, Group, Resumed, RunStarted, Span, Step

CONFIG = RunConfig.model_validate(REFERENCE_ARMS[4].config(8, 0))
FILE = RunFile(sweep="s", run_name="r", run_id=CONFIG.run_id(), config=CONFIG)
STEP = next(
    record
    for record in synthetic_trace(np.random.default_rng(0), FILE, 1, finish=False)
    if isinstance(record, Step)
)


def started(attempt=1, t=0.0):
    return RunStarted(
        attempt=attempt,
        t=t,
        run_id=FILE.run_id,
        sweep="s",
        run_name="r",
        model="m",
        engine="e",
        max_steps=8,
        unix_time=0.0,
    )


def step(number, start_s, wall_s, attempt=1):
    changes = {"step": number, "policy_version": number + 1, "start_s": start_s, "wall_s": wall_s}
    return STEP.model_copy(update=changes | {"attempt": attempt, "t": start_s + wall_s})


def span(lane, name, start_s, end_s, number=None, attempt=1):
    return Span(attempt=attempt, t=end_s, lane=lane, name=name, start_s=start_s, end_s=end_s, step=number)


def group(number, dispatched_s, finished_s, fate=Fate.TRAINED, *, verified_s=None, decided_s=None, attempt=1):
    """The line of the dispatch, and that of the fate unless it is None."""
    first = Dispatch(attempt=1, t=dispatched_s, group=number, prompt_id=f"p{number}", epoch=0, version=0)
    if fate is None:
        return [first]
    line = Group(
        attempt=attempt,
        t=decided_s or verified_s or finished_s,
        group=number,
        prompt_id=f"p{number}",
        version_min=0,
        version_max=0,
        dispatched_s=dispatched_s,
        finished_s=finished_s,
        verified_s=verified_s,
        consumed_s=verified_s if fate is Fate.TRAINED else None,
        step=0 if fate is Fate.TRAINED else None,
        fate=fate,
        reward_mean=None,
        prompt_tokens=1,
        completion_tokens=1,
        truncated=0,
    )
    return [first, line]


@pytest.fixture
def stored(tmp_path):
    def write(*parts):
        folder = tmp_path / "s" / "r"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(FILE.model_dump_json())
        write_trace(folder / "trace.jsonl", parts)
        ingest(tmp_path)
        return Store(tmp_path)

    return write


# Steps of 4 s from second 10 on. In steps 1 and 2, seconds 14 to 22, the learner waits 3 s and drains 1 s,
# syncs 0.5 s and learns 3 s, the engine generates 5 s and idles 2 s; of 1 s the trace says nothing.
BY_HAND = (
    started(),
    *(step(number, 10.0 + 4 * number, 4.0) for number in range(4)),
    span("learner", "learn", 10.0, 14.0, 0),
    span("learner", "wait", 14.0, 16.0, 1),
    span("learner", "learn", 16.0, 17.5, 1),
    span("learner", "wait", 17.5, 18.5, 2),
    span("learner", "drain", 18.5, 19.5, 2),
    span("sync", "sync", 19.5, 20.0, 2),
    span("learner", "learn", 20.0, 21.5, 2),
    span("learner", "wait", 22.0, 26.0, 3),
    span("engine", "generate", 9.0, 16.0),  # two of its seconds are in the range
    span("engine", "idle:admission", 16.0, 17.0),
    span("engine", "generate", 17.0, 20.0),
    span("engine", "idle:sync", 20.0, 21.0),
    span("engine", "generate", 22.0, 26.0),
    span("verify", "verify", 15.0, 15.25),  # the group's own line tells more
    *group(0, 9.0, 15.0, verified_s=15.25),
    *group(1, 13.0, 16.0, Fate.FILTERED, verified_s=16.5),
    *group(2, 17.0, None, Fate.ABORTED, decided_s=19.0),
    *group(3, 21.0, 25.0, verified_s=25.5),
    *group(4, 21.5, None, None),
)


def test_spans_are_those_of_the_range_from_where_its_first_step_begins(stored):
    found = timeline(stored(*BY_HAND), "s", "r", 1, 2)
    assert found.seconds == 8.0
    assert found.steps.to_numpy().tolist() == [[1, 0, 4], [2, 4, 8]]
    spans = [tuple(row) for row in found.spans[["lane", "name", "start_s", "end_s"]].to_numpy()]
    assert spans == [
        ("engine", "generate", 0.0, 2.0),
        ("engine", "idle:admission", 2.0, 3.0),
        ("engine", "generate", 3.0, 6.0),
        ("engine", "idle:sync", 6.0, 7.0),
        ("learner", "wait", 0.0, 2.0),
        ("learner", "learn", 2.0, 3.5),
        ("learner", "wait", 3.5, 4.5),
        ("learner", "drain", 4.5, 5.5),
        ("learner", "learn", 6.0, 7.5),
        ("sync", "sync", 5.5, 6.0),
        ("verify", "verify", 1.0, 1.25),
        ("verify", "verify", 2.0, 2.5),
    ]
    verified = found.spans[found.spans["lane"] == "verify"]
    assert list(verified["group_id"]) == [0, 1]
    assert list(verified["fate"]) == ["trained", "filtered"]


def test_groups_are_counted_from_dispatch_to_their_end(stored):
    flight = timeline(stored(*BY_HAND), "s", "r", 1, 2).in_flight
    # 0 and 1 run at first; the aborted one ends with its fate; the last two go on beyond the range.
    assert flight.to_numpy().tolist() == [
        [0.0, 2], [1.0, 1], [2.0, 0], [3.0, 1], [5.0, 0], [7.0, 1], [7.5, 2], [8.0, 0],
    ]  # fmt: skip


def test_shares_are_of_the_ranges_time(stored):
    found = timeline(stored(*BY_HAND), "s", "r", 1, 2)
    shares = {(row["lane"], row["name"]): row["share"] for row in records(lane_shares(found))}
    assert shares == {
        ("engine", "generate"): 5 / 8,
        ("engine", "idle:admission"): 1 / 8,
        ("engine", "idle:sync"): 1 / 8,
        ("engine", "none"): 1 / 8,
        ("learner", "drain"): 1 / 8,
        ("learner", "learn"): 3 / 8,
        ("learner", "sync"): 0.5 / 8,
        ("learner", "wait"): 3 / 8,
        ("learner", "other"): 0.5 / 8,
    }
    assert lane_sentence(found) == (
        "the learner waited 50% of the time (drain 12%, wait 38%); the engine idled 25% of the time "
        "(admission 12%, sync 12%); of 12% the trace does not tell what the engine did"
    )


def test_a_lane_that_is_not_recorded_is_not_called_idle(stored):
    found = timeline(
        stored(started(), step(0, 0.0, 4.0), span("learner", "learn", 0.0, 4.0, 0)), "s", "r", 0, 0
    )
    assert lane_sentence(found) == (
        "the learner waited 0% of the time; the trace does not tell how long the engine idled"
    )
    assert found.in_flight.empty


def test_steps_that_have_not_been_done_make_an_empty_range(stored):
    found = timeline(stored(started(), step(0, 0.0, 4.0)), "s", "r", 5, 9)
    assert (found.seconds, len(found.steps), len(found.spans)) == (0.0, 0, 0)


def test_steps_that_were_done_again_are_drawn_once_and_follow_the_ones_before(stored):
    """The first attempt dies in step 2 at second 25; the second begins there, is ready at 30, and does it."""
    lost = {"verified_s": 18.0, "decided_s": 25.0, "attempt": 2}
    store = stored(
        started(),
        step(0, 10.0, 4.0),
        step(1, 14.0, 4.0),
        step(2, 18.0, 5.0),
        span("learner", "learn", 14.0, 18.0, 1),
        span("learner", "learn", 18.0, 23.0, 2),
        span("engine", "generate", 14.0, 17.0),
        span("engine", "generate", 18.5, 23.0),
        *group(0, 16.0, 17.0, Fate.DISCARDED, **lost),
        *group(1, 19.0, 22.0, Fate.DISCARDED, **(lost | {"verified_s": 22.0})),
        *group(2, 17.5, None, Fate.DISCARDED, decided_s=25.0, attempt=2),
        started(attempt=2, t=25.0),
        Resumed(attempt=2, t=25.0, from_step=2),
        step(2, 30.0, 6.0, attempt=2),
        span("learner", "learn", 30.0, 36.0, 2, attempt=2),
        span("engine", "idle:admission", 26.0, 33.0, attempt=2),
    )
    found = timeline(store, "s", "r", 1, 2)
    assert found.seconds == 4.0 + 6.0
    assert found.steps.to_numpy().tolist() == [[1, 0, 4], [2, 4, 10]]
    spans = [tuple(row) for row in found.spans[["lane", "name", "start_s", "end_s"]].to_numpy()]
    assert spans == [
        ("engine", "generate", 0.0, 3.0),
        ("engine", "idle:admission", 4.0, 7.0),
        ("learner", "learn", 0.0, 4.0),
        ("learner", "learn", 4.0, 10.0),
        ("verify", "verify", 3.0, 4.0),
    ]
    assert found.in_flight.to_numpy().tolist() == [[2.0, 1], [3.0, 0], [3.5, 1], [4.0, 0]]


def test_the_range_shrinks_until_its_spans_fit(stored):
    with snapshot(stored(*BY_HAND)) as store:
        for first, last in ((0, 0), (0, 3), (1, 2), (3, 9)):
            spans = count_spans(store, "s", "r", first, last)
            assert spans == len(timeline(store, "s", "r", first, last).spans)
        assert fitting_last(store, "s", ["r"], first=0, last=3, most=100) == 3
        for most in (1, 15, 30, 40):
            last = fitting_last(store, "s", ["r", "r"], first=0, last=3, most=most)
            assert last == 0 or 2 * count_spans(store, "s", "r", 0, last) <= most
        assert fitting_last(store, "s", ["r", "r"], first=0, last=3, most=30) > 0


INTERVALS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(1, 20)).map(lambda pair: (pair[0], sum(pair))), max_size=12
)


@settings(deadline=None, max_examples=50)
@given(INTERVALS)
def test_as_many_run_at_once_as_intervals_hold_the_moment(intervals):
    starts, ends = (np.array([pair[place] for pair in intervals], float) for place in (0, 1))
    found = _at_once(pd.DataFrame({"start_s": starts, "end_s": ends}))
    for moment in np.arange(0, 41, 0.5):
        known = found[found["start_s"] <= moment]
        counted = int(known["groups"].iloc[-1]) if len(known) else 0
        assert counted == sum(start <= moment < end for start, end in intervals)
