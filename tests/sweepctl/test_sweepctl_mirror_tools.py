"""Mirrors of the step records, each with its real package, offline: its own files are read back."""

import json
import sqlite3

import pytest
from mirroring import (
    BEGAN,
    READERS,
    Run,
    finish,
    in_tensorboard,
    in_trackio,
    mirror,
    tensorboard,
    wait_until,
    wandb_records,
)

from sweepctl.mirrors.__main__ import MIRRORS
from sweepctl.mirrors.follow import Following
from sweepctl.mirrors.protocol import MirrorError
from sweepctl.mirrors.weights_and_biases import WeightsAndBiases
from trainer.records import RunState

every_mirror = pytest.mark.parametrize("name", READERS)


@every_mirror
def test_a_finished_run_is_sent_whole_and_not_again(mirrored, name):
    mirrored.attempt(start=0, until=3, held_out=(0, 3))
    mirrored.status(RunState.SUCCEEDED)
    finish(mirror(mirrored, name))
    assert READERS[name](mirrored) == [(1, 1.01), (2, 1.02), (3, 1.03)]
    assert READERS[name](mirrored, "held_out/accuracy") == [(0, 1.0), (3, 1.03)]
    finish(mirror(mirrored, name))
    assert READERS[name](mirrored) == [(1, 1.01), (2, 1.02), (3, 1.03)]


@every_mirror
def test_run_and_mirror_killed_and_both_gone_on_with(mirrored, name):
    mirrored.attempt(start=0, until=4)
    first = mirror(mirrored, name, "--follow")
    wait_until(lambda: mirrored.progress(name)["step"] == 4, first)
    wait_until(lambda: len(stored(mirrored, name)) == 4, first)
    first.kill()
    first.wait()
    first.stdout.close()
    mirrored.attempt(start=2, until=6, resumed=True)
    mirrored.status(RunState.SUCCEEDED)
    finish(mirror(mirrored, name))
    again = [(3, 2.03), (4, 2.04)] if name == "tensorboard" else [(3, 1.03), (4, 1.04)]
    assert READERS[name](mirrored) == [(1, 1.01), (2, 1.02), *again, (5, 2.05), (6, 2.06)]


def stored(run: Run, name: str) -> list:
    try:
        return READERS[name](run)
    except (sqlite3.OperationalError, KeyError):
        return []  # not made yet


@pytest.mark.parametrize("name", ["tensorboard", "trackio"])
def test_killed_between_a_point_and_its_note(mirrored, name):
    mirrored.attempt(start=0, until=3)
    mirrored.status(RunState.SUCCEEDED)
    finish(mirror(mirrored, name))
    path = mirrored.paths.root / "mirrors" / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 1}))
    finish(mirror(mirrored, name))
    assert READERS[name](mirrored) == [(1, 1.01), (2, 1.02), (3, 1.03)]


def test_trackio_killed_before_a_row_that_it_noted_was_written(mirrored):
    mirrored.attempt(start=0, until=3)
    mirrored.status(RunState.SUCCEEDED)
    finish(mirror(mirrored, "trackio"))
    mirrored.attempt(start=3, until=5, resumed=True)
    path = mirrored.paths.root / "mirrors" / "trackio.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": 4}))
    finish(mirror(mirrored, "trackio"))
    assert [at for at, _ in in_trackio(mirrored)] == [1, 2, 3, 4, 5]


def test_tensorboard_files_of_one_second_are_read_in_their_order(mirrored):
    mirrored.attempt(start=0, until=2)
    Following("tensorboard", MIRRORS["tensorboard"](), mirrored.paths).close(RunState.INTERRUPTED)
    (file,) = (mirrored.paths.root / "mirrors" / "tensorboard").iterdir()
    stamp, host = file.name.split(".")[3:5]
    file.rename(file.with_name(f"events.out.tfevents.{stamp}.{host}.99999999.0"))  # a higher pid
    mirrored.attempt(start=1, until=2, resumed=True)
    Following("tensorboard", MIRRORS["tensorboard"](), mirrored.paths).close(RunState.SUCCEEDED)
    assert in_tensorboard(mirrored) == [(1, 1.01), (2, 2.02)]


def test_tensorboard_has_the_times_and_the_configuration(mirrored):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    mirrored.attempt(start=0, until=2)
    mirrored.attempt(start=2, until=3, resumed=True)
    following = Following("tensorboard", MIRRORS["tensorboard"](), mirrored.paths)
    following.close(RunState.SUCCEEDED)
    times = [event.wall_time for event in tensorboard(mirrored).Scalars("train/reward_mean")]
    assert times == [BEGAN + 1, BEGAN + 2, BEGAN + 100 + 1]
    metadata = tensorboard(mirrored).SummaryMetadata("_hparams_/session_start_info")
    start = HParamsPluginData.FromString(metadata.plugin_data.content).session_start_info
    assert start.group_name == "s0"
    assert start.hparams["optim.lr"].number_value == 1e-6
    assert start.hparams["sweep"].string_value == "sw"


@pytest.mark.parametrize(("state", "code"), [(RunState.SUCCEEDED, 0), (RunState.FAILED, 1)])
def test_wandb_has_names_configuration_and_end_and_nothing_of_the_machine(mirrored, state, code):
    mirrored.attempt(start=0, until=1)
    mirrored.status(state)
    finish(mirror(mirrored, "wandb"))
    records = {record.WhichOneof("record_type"): record for record in wandb_records(mirrored)}
    announced = next(record.run for record in wandb_records(mirrored) if record.HasField("run"))
    assert (announced.project, announced.run_group, announced.display_name) == ("sweepctl", "sw", "s0")
    assert list(announced.tags) == ["blue"]
    run_id = json.loads(mirrored.paths.config.read_text())["run_id"]
    assert announced.run_id == f"{run_id}-{int(BEGAN):x}"
    config = {item.key: json.loads(item.value_json) for item in announced.config.update}
    assert (config["optim.lr"], config["run_id"]) == (1e-6, run_id)
    assert records["exit"].exit.exit_code == code
    assert not {"stats", "environment", "output", "output_raw"} & set(records)
    assert not list((mirrored.paths.root / "mirrors").glob("wandb/offline-run-*/files/*"))


def test_wandb_without_a_login_says_how_to_get_one(mirrored, monkeypatch, tmp_path):
    mirrored.attempt(start=0, until=1)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MirrorError, match=r"wandb login.*WANDB_MODE=offline"):
        Following("wandb", WeightsAndBiases(), mirrored.paths).send_new()
