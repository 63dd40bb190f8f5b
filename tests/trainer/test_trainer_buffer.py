"""Groups between dispatch and consumption: order, count, and who wakes whom."""

import random
import threading
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainer_factory import group

from trainer.buffer import GroupBuffer
from trainer.errors import EngineError
from trainer.interrupt import Interrupted
from trainer.records import Fate
from trainer.schedule import Schedule

SHORT_S = 0.15
LONG_S = 10.0


def make_buffer(staleness=1, batch=2, interval=1, steps=100):
    schedule = Schedule(staleness, batch, batch * interval, steps)
    return GroupBuffer(schedule, on_evict=lambda item: None, on_room=lambda: None)


def decide(buffer, item, accepted=True):
    buffer.generated(item)
    if accepted:
        buffer.accept(item)
    else:
        buffer.drop(item, Fate.FILTERED)


@pytest.fixture
def elsewhere():
    """Calls a function in another thread and gives its future; a thread that hangs fails its test only."""

    def submit(function, *arguments):
        future = Future()

        def call():
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=call, daemon=True).start()
        return future

    return submit


@given(st.data(), st.integers(0, 3), st.integers(1, 4), st.integers(1, 8))
def test_any_interleaving_keeps_order_and_count_and_loses_nothing(data, staleness, batch, steps):
    buffer = make_buffer(staleness, batch, steps=steps)
    line, accepted, dropped, running = [], set(), 0, []
    taken, sent, version = [], 0, 0
    for _ in range(60):
        ready = len(line) >= batch and all(number in accepted for number in line[:batch])
        may = len(taken) + len(line) < min(version + staleness + 1, steps) * batch
        assert buffer.may_dispatch() == may
        moves = ["dispatch"] * may + ["decide"] * bool(running) + ["take"] * ready
        if not moves:
            break
        move = data.draw(st.sampled_from(moves))
        if move == "dispatch":
            item = group(sent, version=buffer.engine_version)
            sent += 1
            buffer.dispatched(item)
            line.append(item.number)
            running.append(item)
        elif move == "decide":
            item = running.pop(data.draw(st.integers(0, len(running) - 1)))
            keep = data.draw(st.booleans())
            decide(buffer, item, keep)
            if keep:
                accepted.add(item.number)
            else:
                line.remove(item.number)
                dropped += 1
        else:
            got = buffer.take(batch, version)
            assert [item.number for item in got] == line[:batch]
            assert buffer.dropped().fates[Fate.FILTERED] == dropped
            taken += line[:batch]
            line, dropped, version = line[batch:], 0, version + 1
            buffer.pause()
            assert not buffer.may_dispatch()
            buffer.resume(version)
        assert buffer.generating == len(running)
    ready_left, undecided, _ = buffer.waiting()
    assert [item.number for item in ready_left] == [number for number in line if number in accepted]
    assert [item.number for item in undecided] == [number for number in line if number not in accepted]
    assert taken == sorted(set(taken))


@pytest.mark.parametrize("seed", range(5))
def test_two_threads_hand_over_every_group_once_and_in_order(seed, elsewhere):
    rng, steps, batch = random.Random(seed), 40, 3
    buffer = make_buffer(staleness=2, batch=batch, steps=steps)
    woken = threading.Event()
    buffer._on_room = woken.set
    kept, stop = [], threading.Event()

    def roll_out():
        sent, running = 0, []
        while not stop.is_set():
            woken.clear()
            while buffer.may_dispatch():
                item = group(sent, version=buffer.engine_version)
                sent += 1
                buffer.dispatched(item)
                running.append(item)
            if not running:
                woken.wait(0.01)
                continue
            item = running.pop(rng.randrange(len(running)))
            keep = rng.random() < 0.6
            if keep:
                kept.append(item.number)
            decide(buffer, item, keep)

    producer = elsewhere(roll_out)
    taken = []
    try:
        for step in range(steps):
            got = elsewhere(buffer.take, batch, step).result(LONG_S)
            taken += [item.number for item in got]
            assert all(0 <= step - item.version_min <= 2 for item in got)
            buffer.pause()
            elsewhere(buffer.wait_drained).result(LONG_S)
            buffer.resume(step + 1)
    finally:
        stop.set()
    producer.result(LONG_S)
    assert taken == sorted(kept)


def test_take_waits_for_a_straggler_though_enough_later_groups_are_ready(elsewhere):
    buffer = make_buffer()
    items = [group(i) for i in range(4)]
    for item in items:
        buffer.dispatched(item)
    for item in items[1:]:
        decide(buffer, item)
    taking = elsewhere(buffer.take, 2, 0)
    with pytest.raises(TimeoutError):
        taking.result(SHORT_S)
    decide(buffer, items[0])
    assert [item.number for item in taking.result(LONG_S)] == [0, 1]


def test_take_goes_on_at_once_when_the_straggler_it_waited_for_is_dropped(elsewhere):
    buffer = make_buffer()
    items = [group(i) for i in range(4)]
    for item in items:
        buffer.dispatched(item)
    decide(buffer, items[1])
    decide(buffer, items[2])
    buffer.generated(items[0])
    taking = elsewhere(buffer.take, 2, 0)
    with pytest.raises(TimeoutError):
        taking.result(SHORT_S)
    buffer.drop(items[0], Fate.FAILED)
    assert [item.number for item in taking.result(LONG_S)] == [1, 2]
    assert buffer.dropped().fates == {Fate.FAILED: 1}


@pytest.mark.parametrize("wait", [lambda buffer: buffer.take(1, 0), lambda buffer: buffer.wait_drained()])
def test_fail_raises_in_whoever_waits_and_in_whoever_comes_later(wait, elsewhere):
    buffer = make_buffer()
    buffer.dispatched(group(0))
    waiting = elsewhere(wait, buffer)
    with pytest.raises(TimeoutError):
        waiting.result(SHORT_S)
    buffer.fail(EngineError("first"))
    buffer.fail(EngineError("second"))
    with pytest.raises(EngineError, match="first"):
        waiting.result(LONG_S)
    with pytest.raises(EngineError, match="first"):
        wait(buffer)


def test_a_sync_waits_for_running_groups_and_then_lets_dispatching_go_on(elsewhere):
    resumed = []
    buffer = make_buffer(staleness=0, batch=1, steps=5)
    first = group(0)
    buffer.dispatched(first)
    decide(buffer, first)
    buffer.take(1, 0)
    straggler = group(1)
    buffer.dispatched(straggler)
    assert buffer.pause() == 1
    draining = elsewhere(buffer.wait_drained)
    with pytest.raises(TimeoutError):
        draining.result(SHORT_S)
    buffer.generated(straggler)
    draining.result(LONG_S)
    buffer.drop(straggler, Fate.FILTERED)
    assert not buffer.may_dispatch()
    buffer._on_room = lambda: resumed.append(buffer.may_dispatch())
    buffer.resume(1)
    assert resumed == [True]
    assert buffer.engine_version == 1


def accepted(*numbers, version=0):
    return [group(number, version=version) for number in numbers]


def fill(buffer, items):
    for item in items:
        buffer.dispatched(item)
        decide(buffer, item)


def test_an_interruption_lets_a_sync_end_and_nothing_more_be_dispatched_or_taken(elsewhere):
    buffer = make_buffer()
    straggler = group(0)
    buffer.dispatched(straggler)
    buffer.pause()
    draining = elsewhere(buffer.wait_drained)
    buffer.interrupt(Interrupted("received SIGINT"))
    with pytest.raises(TimeoutError):
        draining.result(SHORT_S)
    decide(buffer, straggler)
    draining.result(LONG_S)
    buffer.resume(1)
    assert not buffer.may_dispatch()
    with pytest.raises(Interrupted, match="SIGINT"):
        buffer.take(1, 0)


def test_what_was_put_back_is_taken_again_in_the_same_order_and_counts_as_before():
    buffer = make_buffer(staleness=1, batch=2)
    fill(buffer, accepted(0, 1, 2, 3))
    assert not buffer.may_dispatch()
    taken = buffer.take(2, 0)
    buffer.put_back(taken)
    assert not buffer.may_dispatch()
    assert [item.number for item in buffer.take(4, 0)] == [0, 1, 2, 3]


def test_eviction_takes_groups_as_they_are_accepted_and_says_which_are_too_old():
    evicted, room = [], []
    schedule = Schedule(0, 2, 2, 9, max_inflight_groups=4)
    buffer = GroupBuffer(
        schedule, on_evict=lambda g: evicted.append(g.number), on_room=lambda: room.append(1)
    )
    items = accepted(0, 1, 2, 3)
    for item in items:
        buffer.dispatched(item)
    for number in (3, 1, 0):
        decide(buffer, items[number])
    assert [item.number for item in buffer.take(2, 0)] == [3, 1]
    buffer.pause()
    buffer.generated(items[2])
    buffer.resume(1)
    buffer.accept(items[2])
    room.clear()
    assert buffer.try_take(2, 1) == []
    assert evicted == [0, 2]
    assert room
    assert buffer.dropped().fates == {Fate.EVICTED: 2}


def test_a_restored_buffer_goes_on_as_the_one_it_was_taken_of():
    buffer = make_buffer(staleness=1, batch=2)
    fill(buffer, accepted(0, 1, 2))
    buffer.take(2, 0)
    buffer.pause()
    buffer.resume(1)
    buffer.dispatched(group(3, version=1))
    ready, undecided, dropped = buffer.waiting()
    assert ([g.number for g in ready], [g.number for g in undecided]) == ([2], [3])

    again = make_buffer(staleness=1, batch=2)
    again.restore(ready, consumed=2, engine_version=1, dropped=dropped)
    sent = 0
    while again.may_dispatch():
        fill(again, accepted(10 + sent, version=1))
        sent += 1
    assert sent == 3  # i = 2 + 1 + 3 = 6 = (1 + s + 1) B
    assert [item.number for item in again.take(2, 1)] == [2, 10]
