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
from trainer.schedule import Schedule

SHORT_S = 0.15
LONG_S = 10.0


def make_buffer(staleness=1, batch=2, interval=1, steps=100):
    return GroupBuffer(Schedule(staleness, batch, batch * interval, steps), on_resume=lambda: None)


def decide(buffer, item, accepted=True):
    buffer.generated(item)
    (buffer.accept if accepted else buffer.drop)(item)


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
    line, accepted, dropped, running = [], set(), [], []
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
                dropped.append(item.number)
        else:
            got, lost = buffer.take(batch)
            assert [item.number for item in got] == line[:batch]
            assert [item.number for item in lost] == dropped
            taken += line[:batch]
            line, dropped, version = line[batch:], [], version + 1
            buffer.pause()
            assert not buffer.may_dispatch()
            buffer.resume(version)
        assert buffer.generating == len(running)
    ready_left, undecided = buffer.leftovers()
    assert [item.number for item in ready_left] == [number for number in line if number in accepted]
    assert [item.number for item in undecided] == [number for number in line if number not in accepted]
    assert taken == sorted(set(taken))


@pytest.mark.parametrize("seed", range(5))
def test_two_threads_hand_over_every_group_once_and_in_order(seed, elsewhere):
    rng, steps, batch = random.Random(seed), 40, 3
    buffer = make_buffer(staleness=2, batch=batch, steps=steps)
    woken = threading.Event()
    buffer._on_resume = woken.set
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
            got, _ = elsewhere(buffer.take, batch).result(LONG_S)
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
    taking = elsewhere(buffer.take, 2)
    with pytest.raises(TimeoutError):
        taking.result(SHORT_S)
    decide(buffer, items[0])
    assert [item.number for item in taking.result(LONG_S)[0]] == [0, 1]


def test_take_goes_on_at_once_when_the_straggler_it_waited_for_is_dropped(elsewhere):
    buffer = make_buffer()
    items = [group(i) for i in range(4)]
    for item in items:
        buffer.dispatched(item)
    decide(buffer, items[1])
    decide(buffer, items[2])
    buffer.generated(items[0])
    taking = elsewhere(buffer.take, 2)
    with pytest.raises(TimeoutError):
        taking.result(SHORT_S)
    buffer.drop(items[0])
    got, lost = taking.result(LONG_S)
    assert ([item.number for item in got], [item.number for item in lost]) == ([1, 2], [0])


@pytest.mark.parametrize("wait", [lambda buffer: buffer.take(1), lambda buffer: buffer.wait_drained()])
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
    buffer = GroupBuffer(Schedule(0, 1, 1, 5), on_resume=lambda: resumed.append(buffer.may_dispatch()))
    first = group(0)
    buffer.dispatched(first)
    decide(buffer, first)
    buffer.take(1)
    straggler = group(1)
    buffer.dispatched(straggler)
    assert buffer.pause() == 1
    draining = elsewhere(buffer.wait_drained)
    with pytest.raises(TimeoutError):
        draining.result(SHORT_S)
    buffer.generated(straggler)
    draining.result(LONG_S)
    buffer.drop(straggler)
    assert not buffer.may_dispatch()
    buffer.resume(1)
    assert resumed == [True]
    assert buffer.engine_version == 1
