"""Why steps are slow: the sync cycle, another recorded quantity, or nothing on record."""

import numpy as np
import pandas as pd
import pytest

from results.statistics.explanation import explain
from results.statistics.modes import step_modes
from results.statistics.positions import (
    held_back_positions,
    position_share,
    position_test,
    split_positions,
)
from results.statistics.wording import count_text, listed, ordinal, range_text, seconds_text
from trainer.schedule import Schedule

PARTS = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")


def steps_of(walls, part="wait_s", **columns):
    """A run's steps that take 14 s of learning; what they take longer is spent in `part`."""
    frame = pd.DataFrame({"step": np.arange(len(walls)), "wall_s": walls, **dict.fromkeys(PARTS, 0.0)})
    frame["learn_s"] += 14.0
    frame[part] += frame["wall_s"] - 14.0
    return frame.assign(**columns)


def cycle(rng, interval, slow, count=96):
    return np.where(np.isin(np.arange(count) % interval, slow), 28.2, 14.2) * rng.lognormal(0, 0.005, count)


def scattered(rng, share=0.3, count=100):
    slow = rng.random(count) < share
    return slow, np.where(slow, 28.2, 14.2) * rng.lognormal(0, 0.005, count)


def test_a_wait_is_put_down_to_the_sync_where_the_schedule_says_so():
    frame = steps_of(cycle(np.random.default_rng(0), 2, [0]))
    found = step_modes(frame, 2, schedule=Schedule(1, 8, 16, 96))
    warm = frame[frame["step"] >= 2]
    waits = warm.loc[warm["step"] % 2 == 0, "wait_s"].mean()
    assert found.explained_by == "position"
    assert (
        f"Every 2nd step, the 1st after a sync, waits {waits:.3g} s for groups that could not be dispatched "
        "before the sync" in found.sentence
    )


@pytest.mark.parametrize(
    ("schedule", "part"),
    [
        pytest.param(None, "wait_s", id="schedule unknown"),
        pytest.param(Schedule(3, 8, 16, 96), "wait_s", id="s admits the groups before the sync"),
        pytest.param(Schedule(1, 8, 16, 96, max_inflight_groups=32), "wait_s", id="evict_requeue"),
        pytest.param(Schedule(1, 8, 16, 96), "learn_s", id="no wait"),
    ],
)
def test_otherwise_only_the_part_of_the_step_is_named(schedule, part):
    frame = steps_of(cycle(np.random.default_rng(1), 2, [0]), part)
    sentence = step_modes(frame, 2, schedule=schedule).sentence
    assert "before the sync" not in sentence
    assert "Every 2nd step, the 1st after a sync, takes 28.2 s against 14.2 s" in sentence
    assert f"{part.removesuffix('_s')} alone differs by 14.0 s" in sentence


def test_all_slow_positions_of_a_longer_cycle_are_named():
    sentence = step_modes(steps_of(cycle(np.random.default_rng(2), 4, [0, 2])), 4).sentence
    assert "Of every 4 steps, the 1st and 3rd after a sync each take 28.2 s against 14.2 s" in sentence


def test_parts_that_were_not_recorded_are_not_named():
    frame = steps_of(cycle(np.random.default_rng(3), 2, [0])).assign(**dict.fromkeys(PARTS, np.nan))
    assert "not recorded" in step_modes(frame, 2, schedule=Schedule(1, 8, 16, 96)).sentence


def test_a_recorded_quantity_that_goes_with_the_modes_is_named():
    rng = np.random.default_rng(4)
    slow, walls = scattered(rng)
    frame = steps_of(walls, filtered_groups=slow * 2, completion_tokens=rng.integers(900, 1100, 100))
    found = step_modes(frame, 1)
    count = np.count_nonzero(slow[1:])
    assert found.explained_by == "filtered_groups"
    assert f"{count} of the {count} slower steps have filtered groups, of the {99 - count} fastest 0" in (
        found.sentence
    )
    assert "looked at: filtered groups, checkpoint" not in found.sentence  # checkpoints did not vary


def test_modes_that_go_with_nothing_on_record_are_said_to():
    rng = np.random.default_rng(5)
    _, walls = scattered(rng)
    found = step_modes(steps_of(walls, completion_tokens=rng.permutation(100)), 2)
    assert found.explained_by is None
    assert "The position in the sync cycle does not explain them" in found.sentence
    assert "Nothing on record is shown to go with them; looked at: completion tokens" in found.sentence
    nothing = step_modes(steps_of(walls), 1)
    assert "None of the quantities on record" in nothing.sentence


def test_unrelated_quantities_are_named_no_more_often_than_the_level_says():
    named = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        slow, walls = scattered(rng, count=60)
        quantities = {
            name: rng.random(60) < 0.3 for name in ("filtered_groups", "aborted_groups", "evicted_groups")
        }
        frame = steps_of(walls, completion_tokens=rng.permutation(60), **quantities)
        named += explain(frame, slow.astype(np.int64), 1, None, rng).explained_by is not None
    assert named <= 19  # 10 expected; more than 19 has a chance of 0.3 %


def test_slow_drifts_of_both_explain_nothing():
    rng = np.random.default_rng(6)
    walls = np.where(np.arange(101) < 51, 14.2, 28.2) * rng.lognormal(0, 0.01, 101)
    found = step_modes(steps_of(walls, completion_tokens=np.arange(101) + rng.normal(0, 20, 101)), 1)
    assert len(found.modes) == 2
    assert found.explained_by is None


def test_held_back_positions_are_those_whose_age_would_exceed_s():
    for interval in range(1, 5):
        for staleness in range(interval - 1, 9):
            schedule = Schedule(staleness, 8, 8 * interval, 1)
            expected = tuple(j for j in range(interval) if j + interval > staleness)
            assert held_back_positions(schedule) == expected


def test_positions_are_parted_at_the_widest_gap():
    split = split_positions(np.arange(40) % 4, np.tile([28.0, 15.0, 27.0, 14.0], 10))
    assert (split.fast, split.slow) == ((1, 3), (0, 2))


def test_share_of_variance_between_positions():
    assert position_share(np.arange(10) % 2, np.tile([1.0, 2.0], 5)) == pytest.approx(1)
    assert position_share(np.arange(8) % 2, np.tile([1.0, 1.0, 2.0, 2.0], 2)) == pytest.approx(0)
    assert position_share(np.arange(4) % 2, np.ones(4)) == 0


def test_position_test_keeps_its_level_under_drift():
    rng = np.random.default_rng(7)
    steps, drift = np.arange(40), np.linspace(0, 2, 40)
    rejected = sum(position_test(steps, drift + rng.normal(size=40), 4, rng) < 0.05 for _ in range(200))
    assert rejected <= 19  # 10 expected; more than 19 has a chance of 0.3 %


def test_position_test_ignores_partial_cycles():
    rng = np.random.default_rng(8)
    values = np.tile([0.0, 1.0], 10)
    full = position_test(np.arange(2, 22), values, 2, rng)
    partial = position_test(np.arange(3, 22), values[1:], 2, rng)
    assert full < 0.01 and partial < 0.01
    assert np.isnan(position_test(np.arange(20), values, 1, rng))


def test_wording():
    assert [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 22)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "22nd"]
    )
    assert [seconds_text(each) for each in (0.0412, 28.04, 123.4, 1234.0)] == [
        "0.0412",
        "28.0",
        "123",
        "1,234",
    ]
    assert range_text(28.2, 29.14) == "28.2–29.1"
    assert range_text(42.601, 42.604) == "42.601–42.604"
    assert range_text(3.0, 3.0) == "3.00"
    assert (listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])) == ("a", "a and b", "a, b and c")
    assert (count_text(1), count_text(7)) == ("one", "7")
