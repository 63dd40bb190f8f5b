"""How a machine is shared out among runs, and between sweeps."""

import json
import os
import shutil
import subprocess
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepctl.running import slots
from sweepctl.running.flock import LockFile
from sweepctl.running.lease import lease_devices, lease_folder
from sweepctl.running.slots import Share, Slot, choose_share, parse_devices
from sweepctl.spec.model import ResourcesSpec
from trainer.config import Resources
from trainer.errors import ConfigError


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be a machine with these devices."""

    def pretend(kind, *names):
        monkeypatch.setattr(slots, "machine_kind", lambda: kind)
        monkeypatch.setattr(slots, "machine_devices", lambda _: names)

    return pretend


@given(st.integers(1, 40), st.data())
def test_every_device_has_one_slot_and_no_slot_is_empty(count, data):
    concurrency = data.draw(st.integers(1, count))
    devices = tuple(map(str, range(count)))
    shared = Share("core", devices, 1, concurrency).slots(devices)
    assert [name for slot in shared for name in slot.devices] == list(devices)
    assert len(shared) == concurrency
    assert max(len(slot.devices) for slot in shared) - min(len(slot.devices) for slot in shared) <= 1


@given(st.integers(1, 20))
def test_engine_and_learner_of_a_slot_share_its_cores_without_overlap(count):
    slot = Slot(0, "core", tuple(map(str, range(count))))
    engine, learner = slot.engine_cores, slot.learner_resources.cores
    assert engine
    assert learner
    assert set(engine) | set(learner) == set(range(count))
    assert count == 1 or not set(engine) & set(learner)


def test_a_gpu_is_shared_by_engine_and_learner_and_two_are_divided():
    alone, pair = Slot(0, "gpu", ("3",)), Slot(1, "gpu", ("4", "5"))
    assert (alone.learner_environment, alone.engine_device) == ({"CUDA_VISIBLE_DEVICES": "3"}, "3")
    assert (pair.learner_environment, pair.engine_device) == ({"CUDA_VISIBLE_DEVICES": "4"}, "5")
    assert (alone.weight_transfer, pair.weight_transfer) == ("ipc", "nccl")
    assert alone.learner_resources == Resources(device="cuda:0", weight_transfer="ipc")
    # Each process sees its own device only, so it is the first one.
    assert pair.learner_resources.device == "cuda:0"
    assert (pair.name, Slot(0, "core", ("1",)).name) == ("gpu 4,5", "core 1")


@pytest.mark.parametrize(
    ("kind", "count", "slots_by_default"), [("core", 16, 1), ("gpu", 1, 1), ("gpu", 2, 1), ("gpu", 5, 2)]
)
def test_concurrency_by_default(machine, kind, count, slots_by_default):
    machine(kind, *map(str, range(count)))
    share = choose_share(ResourcesSpec())
    assert len(share.slots(share.devices)) == slots_by_default


@pytest.mark.parametrize(
    ("count", "concurrency", "expected"),
    [(1, None, ["0"]), (3, None, ["0,1"]), (3, 2, ["0", "1"]), (4, 1, ["0,1"]), (5, 2, ["0,1", "2,3"])],
)
def test_slots_of_gpus_are_alike_and_have_two_at_most(machine, count, concurrency, expected):
    """Arms that hand over weights in different ways could not be compared; a third GPU nobody uses."""
    machine("gpu", *map(str, range(count)))
    share = choose_share(ResourcesSpec(), None, concurrency)
    assert [slot.name for slot in share.slots(share.devices)] == [f"gpu {devices}" for devices in expected]


def test_the_command_line_goes_before_the_spec(machine):
    machine("core", "0", "1", "2", "3")
    resources = ResourcesSpec(devices=(0, 1), concurrency=2)
    assert choose_share(resources).devices == ("0", "1")
    share = choose_share(resources, "1-3", 1)
    assert (share.devices, share.concurrency, share.at_least) == (("1", "2", "3"), 1, 3)


def test_what_is_not_there_is_refused_with_what_is(machine):
    machine("gpu", "0", "1")
    with pytest.raises(ConfigError, match=r"no GPU 2, 3 here; there is 0, 1 \(--devices"):
        choose_share(ResourcesSpec(), "1-3")
    with pytest.raises(ConfigError, match=r"4 runs at the same time need a GPU each.* lower -j .* to 2"):
        choose_share(ResourcesSpec(), None, 4)


@pytest.mark.parametrize("text", ["", "a", "0,", "3-1", "1-", "-1", "0 1"])
def test_a_list_of_devices_that_is_none(text):
    with pytest.raises(ConfigError, match="expected numbers and ranges, such as"):
        parse_devices(text)


def test_a_device_named_twice_counts_once(machine):
    machine("core", "0", "1")
    share = choose_share(ResourcesSpec(devices=(0, 0)))
    assert (share.devices, share.at_least) == (("0",), 1)


def test_lists_of_devices():
    assert parse_devices("0,2-4, 3") == ("0", "2", "3", "4")


@pytest.fixture
def leases(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEPCTL_LEASE_DIR", str(tmp_path / "leases"))
    return lease_folder()


def lease(devices, at_least, said=None, while_waiting=lambda: None, sweep="second"):
    return lease_devices(
        "core",
        devices,
        at_least=at_least,
        sweep=sweep,
        say=(said if said is not None else []).append,
        while_waiting=while_waiting,
    )


def test_what_is_free_is_taken_beside_another_sweep(leases):
    with lease(("0", "1"), 2, sweep="first") as first, lease(("0", "1", "2"), 1) as second:
        assert (first.devices, second.devices) == (("0", "1"), ("2",))
    with lease(("0", "1"), 2) as again:
        assert again.devices == ("0", "1")


def test_a_sweep_waits_for_devices_and_says_for_whose(leases):
    said, order = [], []
    release = threading.Event()

    def first():
        with lease(("0", "1"), 2, sweep="first"):
            order.append("first has")
            release.wait(10)
        order.append("first is done")

    thread = threading.Thread(target=first)
    thread.start()
    while not order:
        time.sleep(0.01)
    with lease(("1", "2"), 2, said, while_waiting=release.set) as mine:
        order.append("second has")
    thread.join()
    assert mine.devices == ("1", "2")
    assert order == ["first has", "first is done", "second has"]
    assert said == [
        f"waiting for core 1, in use by sweep first (process {os.getpid()}); --devices chooses others"
    ]


def test_waiting_can_be_broken_off_and_takes_nothing(leases):
    class EnoughError(Exception):
        pass

    def stop():
        raise EnoughError

    with lease(("1",), 1, sweep="first"):
        with pytest.raises(EnoughError), lease(("0", "1"), 2, while_waiting=stop):
            pass
        with lease(("0",), 1) as free:
            assert free.devices == ("0",)


def test_two_sweeps_at_once_do_not_get_some_of_the_devices_each(leases):
    """Whoever comes first has all; nobody sees devices that another only tries."""
    devices = tuple(map(str, range(6)))
    got, barrier, lock = [], threading.Barrier(4), threading.Lock()

    def take():
        barrier.wait()
        for _ in range(10):
            with lease(devices, 1, while_waiting=lambda: None) as mine, lock:
                got.append(len(mine.devices))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(got) == {6}


def test_devices_are_let_go_of_when_the_folder_was_cleared_away_meanwhile(leases):
    with lease(("0",), 1) as mine:
        shutil.rmtree(leases)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(mine.descriptors[0])


def test_fewer_devices_than_there_are_is_said(leases):
    said = []
    with lease(("0",), 1, sweep="first"), lease(("0", "1", "2"), 1, said):
        assert said == ["taking cores 1, 2; in use by others: core 0"]


def test_what_a_killed_sweep_has_left_still_holds_its_devices(leases):
    with lease(("0",), 1) as mine:
        left = subprocess.Popen(["sleep", "60"], pass_fds=mine.descriptors)
    try:
        assert LockFile.take(leases / "core-0.lock") is None
    finally:
        left.kill()
        left.wait()
    taken = LockFile.take(leases / "core-0.lock")
    assert taken is not None
    taken.release()


def test_a_lease_of_a_process_that_was_killed_is_free(leases):
    # The lock went with the process; only its word lies there still.
    leases.mkdir(parents=True)
    (leases / "core-0.lock").write_text(json.dumps({"pid": 1, "sweep": "dead"}))
    with lease(("0",), 1) as mine:
        assert mine.devices == ("0",)
