"""`sweepctl doctor`: each thing that can be wrong is found, and nothing is where all is well."""

import asyncio
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from factories.sweep_factory import write_synthetic_sweep

from results.ingest import ingest
from sweepctl.cli import main
from sweepctl.doctor import engine, resources, software
from sweepctl.doctor.engine import check_engine
from sweepctl.doctor.finding import Status
from sweepctl.doctor.leases import check_leases
from sweepctl.doctor.leftovers import check_leftovers
from sweepctl.doctor.records import check_records
from sweepctl.doctor.software import check_package, read_lock
from sweepctl.running.flock import LockFile
from sweepctl.running.lease import lease_devices
from trainer.builtin import MODEL_DIR
from trainer.engine import check as engine_check
from trainer.engine.protocol import Completion, EngineCounters
from trainer.errors import EngineError
from trainer.paths import RunPaths, metadata_path
from trainer.settings import EngineSettings

RUN = "s0_opt16_sync16_lr0.0001"
STEPS = 4


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def statuses(findings) -> dict[str, Status]:
    """The worst status of each check."""
    order = list(Status)
    worst: dict[str, Status] = {}
    for finding in findings:
        known = worst.get(finding.check, Status.OK)
        worst[finding.check] = max(known, finding.status, key=order.index)
    return worst


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A run of a synthetic sweep, made whole: a checkpoint, and counters as an engine has them."""
    root = write_synthetic_sweep(tmp_path_factory.mktemp("whole") / "runs", steps=STEPS, questions=5)
    paths = RunPaths(root / RUN)
    shutil.copytree(MODEL_DIR, paths.checkpoint(STEPS))
    *lines, last = [json.loads(line) for line in paths.trace.read_text().splitlines()]
    prompts = [line["prompt_tokens"] for line in lines if line["kind"] == "group"]
    last["engine_prompt_tokens"] = 8 * sum(prompts)  # once for every completion
    paths.trace.write_text("".join(json.dumps(line) + "\n" for line in [*lines, last]))
    return paths


@pytest.fixture
def run(whole_run, tmp_path):
    shutil.copytree(whole_run.root.parent, tmp_path / "runs" / "staleness")
    return RunPaths(tmp_path / "runs" / "staleness" / RUN)


def test_a_whole_run_has_no_finding(run):
    assert set(statuses(check_records(run)).items()) == {
        (check, Status.OK) for check in ("config", "status", "conservation", "checkpoints", "evaluations")
    }


def lose_a_fate(run):
    lines = run.trace.read_text().splitlines()
    first = next(index for index, line in enumerate(lines) if '"kind":"group"' in line.replace(" ", ""))
    run.trace.write_text("\n".join(lines[:first] + lines[first + 1 :]) + "\n")


def cut_weights(run):
    weights = run.checkpoint(STEPS) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def garble_weights(header):
    def garble(run):
        weights = run.checkpoint(STEPS) / "model.safetensors"
        weights.write_bytes(struct.pack("<Q", len(header)) + header)

    return garble


def own_result_without_metadata(run):
    result = run.evaluation(f"step_{STEPS:06d}", "arithmetic_cot", 0)
    edit(result, config={"model": "EngineModel"})
    metadata_path(result).unlink(missing_ok=True)


BROKEN = {
    "config.json was edited": (
        lambda run: edit(run.config, config={"max_steps": STEPS, "seed": 7}),
        "config",
        Status.PROBLEM,
        "it was edited after the run",
    ),
    "config.json is no configuration": (
        lambda run: run.config.write_text('{"sweep": "x"}'),
        "config",
        Status.PROBLEM,
        "run the spec again",
    ),
    "config.json is gone": (lambda run: run.config.unlink(), "config", Status.WARNING, "has not begun"),
    "status.json is none": (lambda run: run.status.write_text("{}"), "status", Status.PROBLEM, "remove it"),
    "status.json is gone": (lambda run: run.status.unlink(), "status", Status.WARNING, "has not begun"),
    "its process is gone": (
        lambda run: edit(run.status, state="running", heartbeat=1.0),
        "status",
        Status.WARNING,
        "the same `sweepctl run` goes on",
    ),
    "succeeded without an end": (
        lambda run: run.trace.write_text("\n".join(run.trace.read_text().splitlines()[:-1]) + "\n"),
        "status",
        Status.PROBLEM,
        "--force --only",
    ),
    "no last checkpoint": (
        lambda run: shutil.rmtree(run.checkpoint(STEPS)),
        "status",
        Status.PROBLEM,
        "--force --only",
    ),
    "a group without a fate": (lose_a_fate, "conservation", Status.PROBLEM, "do not publish"),
    "weights cut short": (cut_weights, "checkpoints", Status.PROBLEM, "remove it"),
    **{
        f"weights whose header is {header.decode()}": (
            garble_weights(header),
            "checkpoints",
            Status.PROBLEM,
            "remove it",
        )
        for header in (
            b"{nonsense",
            b"[]",
            b'{"x": 3}',
            b'{"x": {}}',
            b'{"x": {"data_offsets": [0]}}',
            b'{"x": {"data_offsets": [0, null]}}',
            b'{"x": {"data_offsets": {"1": 1}}}',
        )
    },
    "no config.json in a checkpoint": (
        lambda run: (run.checkpoint(STEPS) / "config.json").unlink(),
        "checkpoints",
        Status.PROBLEM,
        "remove it",
    ),
    "a half-written checkpoint": (
        lambda run: (run.root / "checkpoints" / "step_000003.partial").mkdir(),
        "checkpoints",
        Status.WARNING,
        "rm -r",
    ),
    "a result that is no JSON": (
        lambda run: run.evaluation(f"step_{STEPS:06d}", "arithmetic_cot", 0).write_text("{"),
        "evaluations",
        Status.WARNING,
        "evaluates it again",
    ),
    "a result of our own without metadata": (
        own_result_without_metadata,
        "evaluations",
        Status.WARNING,
        "evaluates it again",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_wrong_with_a_run_is_found_and_nothing_else(run, what):
    breaking, check, status, advice = BROKEN[what]
    breaking(run)
    findings = list(check_records(run))
    bad = [finding for finding in findings if finding.status is not Status.OK]
    assert {(finding.check, finding.status) for finding in bad} == {(check, status)}
    assert advice in bad[0].advice


def test_an_unfinished_run_need_not_add_up_yet(tmp_path):
    root = write_synthetic_sweep(tmp_path, steps=STEPS, questions=5, finished=False)
    running = RunPaths(root / "s1_opt8_sync8_lr5e-05")
    assert statuses(check_records(running)) == {
        "config": Status.OK,
        "status": Status.WARNING,  # it says it runs, and has not for months
        "conservation": Status.OK,
        "checkpoints": Status.OK,
        "evaluations": Status.OK,
    }


class TestSoftware:
    def test_the_lock_of_this_checkout_names_what_is_checked(self):
        locked = read_lock(software._REQUIREMENTS / "cpu.lock")
        assert set(software._PACKAGES) <= locked.keys()
        assert locked["vllm"] == "0.32.0"
        assert read_lock(Path("no such lock")) == {}

    @pytest.mark.parametrize(
        ("name", "installed", "locked", "gpus", "status"),
        [
            ("torch", "2.13.0+cpu", "2.13.0", 0, Status.OK),
            ("torch", "2.13.0", "2.13.0", 0, Status.OK),
            ("torch", "2.13.0+cu130", "2.13.0", 1, Status.OK),
            ("torch", "2.13.0+cpu", "2.13.0", 1, Status.PROBLEM),
            ("vllm", "0.32.0+cpu", "0.32.0", 0, Status.OK),
            ("vllm", "0.32.0", "0.32.0", 0, Status.PROBLEM),
            ("vllm", "0.32.0", "0.32.0", 1, Status.OK),
            ("vllm", "", "0.32.0", 0, Status.WARNING),
            ("torch", "", "2.13.0", 0, Status.PROBLEM),
            ("duckdb", "1.0.0", "2.0.0", 0, Status.WARNING),
            ("duckdb", "1.0.0", None, 0, Status.OK),
        ],
    )
    def test_version_and_build_must_suit_lock_and_machine(self, name, installed, locked, gpus, status):
        found = check_package(name, installed, locked, gpus=gpus)
        assert found.status is status
        assert bool(found.advice) is (status is not Status.OK)


class TestResources:
    def found(self, runs_dir):
        return {finding.check: finding for finding in resources.check_resources(runs_dir)}

    def test_every_resource_is_looked_at(self, tmp_path):
        assert self.found(tmp_path).keys() == {
            "gpu",
            "cores",
            "memory",
            "runs",
            "weights",
            "temp",
            "open files",
        }

    def test_cores_that_a_container_may_not_use_up(self, tmp_path, monkeypatch):
        monkeypatch.setattr(resources, "usable_cores", lambda: (0, 1, 2, 3))
        monkeypatch.setattr(resources, "cpu_limit", lambda: 2.0)
        found = self.found(tmp_path)["cores"]
        assert found.status is Status.WARNING
        assert "--devices 0-1" in found.advice

    @pytest.mark.parametrize(
        ("free_gib", "status"), [(1, Status.PROBLEM), (5, Status.WARNING), (100, Status.OK)]
    )
    def test_room_for_runs(self, tmp_path, monkeypatch, free_gib, status):
        usage = shutil.disk_usage(tmp_path)._replace(free=free_gib * 2**30)
        monkeypatch.setattr(resources.shutil, "disk_usage", lambda _: usage)
        assert self.found(tmp_path / "not" / "there")["runs"].status is status

    def test_runs_where_a_file_is_in_the_way(self, tmp_path):
        (tmp_path / "file").write_text("")
        assert self.found(tmp_path / "file" / "runs")["runs"].status is Status.PROBLEM

    def test_a_temporary_folder_too_deep_for_a_socket(self, tmp_path):
        found = resources.check_temp(tmp_path / ("x" * 100))
        assert (found.status, "TMPDIR" in found.advice) == (Status.PROBLEM, True)

    def test_a_temporary_folder_that_cannot_be_written(self):
        found = resources.check_temp(Path("/proc"))
        assert (found.status, "TMPDIR" in found.advice) == (Status.PROBLEM, True)


@pytest.fixture
def short(tmp_path):
    """A folder whose path leaves room for a socket."""
    with tempfile.TemporaryDirectory(prefix="doctor-", dir="/tmp") as folder:
        yield Path(folder)


def ended_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


class TestLeftovers:
    def test_only_what_nobody_owns_is_left_over(self, short, tmp_path):
        gone = ended_pid()
        for name in (f"sweepctl-engine-{os.getpid()}-a", "sweepctl-young", "sweepctl-devices-0", "other"):
            (short / name).mkdir()
        dead = {f"sweepctl-engine-{gone}-a", f"sweepctl-weights-{gone}-b", "sweepctl-dead"}
        for name in dead:
            (short / name).mkdir()
        with socket.socket(socket.AF_UNIX) as left, socket.socket(socket.AF_UNIX) as served:
            left.bind(str(short / "sweepctl-dead" / "engine.sock"))
            served.bind(str(short / "sweepctl-young" / "engine.sock"))
            served.listen()
            found = next(iter(check_leftovers(tmp_path, (short,))))
        assert found.status is Status.WARNING
        assert set(found.advice.split()) - {"rm", "-r"} == {str(short / name) for name in dead}

    def test_nothing_is_left(self, short, tmp_path):
        assert statuses(check_leftovers(tmp_path, (short,))) == {"scratch": Status.OK, "store": Status.OK}

    def test_runs_that_only_seem_to_run(self, short, tmp_path):
        write_synthetic_sweep(tmp_path, steps=2, questions=5, finished=False)
        found = {finding.check: finding for finding in check_leftovers(tmp_path, (short,))}
        assert found["sweep staleness"].status is Status.WARNING
        assert found["sweep staleness"].found.startswith("s1_opt8_sync8_lr5e-05: said to be running")

    def test_a_status_that_is_none(self, short, tmp_path):
        root = write_synthetic_sweep(tmp_path, steps=2, questions=5)
        (root / RUN / "status.json").write_text("{")
        found = [each for each in check_leftovers(tmp_path, (short,)) if each.check == "sweep staleness"]
        assert [each.status for each in found] == [Status.PROBLEM]
        assert str(root / RUN / "status.json") in found[0].found

    def test_evaluations_that_were_cut_off(self, short, tmp_path):
        root = write_synthetic_sweep(tmp_path, steps=2, questions=5)
        gone = ended_pid()
        dead = [
            root / RUN / "eval" / "step_000002" / f".writing-{gone}-abc",
            root / "base_models" / "builtin_tiny" / f".writing-{gone}-abc",
        ]
        for folder in (*dead, dead[0].with_name(f".writing-{os.getpid()}-abc")):
            folder.mkdir(parents=True)
        found = {finding.check: finding for finding in check_leftovers(tmp_path, (short,))}
        assert found["sweep staleness"].status is Status.WARNING
        assert set(found["sweep staleness"].advice.split()) - {"rm", "-r"} == set(map(str, dead))

    def test_the_store_counts_its_sweeps(self, short, tmp_path):
        write_synthetic_sweep(tmp_path, steps=2, questions=5)
        ingest(tmp_path)
        found = {finding.check: finding for finding in check_leftovers(tmp_path, (short,))}
        assert ": 1 sweep, as of " in found["store"].found

    def test_a_store_that_is_none(self, short, tmp_path):
        (tmp_path / "results.duckdb").write_text("no database" * 100)
        found = {finding.check: finding for finding in check_leftovers(tmp_path, (short,))}
        assert found["store"].status is Status.PROBLEM
        assert "--rebuild" in found["store"].advice


class TestLeases:
    def test_a_folder_without_locks(self, tmp_path):
        assert check_leases(tmp_path / "none").found == "none is in use by a sweep"
        assert not (tmp_path / "none").exists()

    def test_only_a_lock_that_is_held_counts(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SWEEPCTL_LEASE_DIR", str(tmp_path))
        lease = {"at_least": 1, "say": print, "while_waiting": lambda: None}
        with lease_devices("core", ["2"], sweep="ended", **lease):
            pass
        with (
            lease_devices("core", ["0", "1"], sweep="first", **lease),
            lease_devices("gpu", ["0"], sweep="second", **lease),
        ):
            found = check_leases(tmp_path)
        me = f"process {os.getpid()}"
        assert found.status is Status.OK
        assert found.found == f"core 0, core 1: sweep first, {me}; gpu 0: sweep second, {me}"
        assert check_leases(tmp_path).found == "none is in use by a sweep"

    def test_one_that_outlived_its_sweep(self, tmp_path):
        lock = LockFile.take(tmp_path / "core-0.lock")
        lock.write(json.dumps({"pid": ended_pid(), "sweep": "gone"}))
        found = check_leases(tmp_path)
        assert found.status is Status.WARNING
        assert found.found.startswith("core 0: sweep gone, process ")
        assert found.found.endswith(" that is gone; something it started still lives")
        assert str(tmp_path / "core-0.lock") in found.advice
        lock.write("{")
        assert check_leases(tmp_path).found == "core 0: in use, nothing says by whom"
        lock.release()


CHECK = """
import json, os, pathlib, sys, time
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
pathlib.Path({pid!r}).write_text(str(os.getpid()))
print("starting", flush=True)
{body}
result = {{"engine": "fake 1", "start_s": 2.0, "generate_s": 0.5, "completion_tokens": 100}}
result["counted_tokens"] = {counted}
pathlib.Path(given["--output"]).write_text(json.dumps(result))
"""


class TestEngine:
    def check(self, tmp_path, body="", counted=100, timeout_s=20.0):
        script = tmp_path / "check.py"
        script.write_text(CHECK.format(pid=str(tmp_path / "pid"), body=body, counted=counted))
        return check_engine((sys.executable, "-S", str(script)), timeout_s)

    def test_speed_is_told(self, tmp_path):
        found = self.check(tmp_path)
        assert found.status is Status.OK
        assert found.found == "fake 1: ready after 2 s, 200 tokens/s with log-probabilities"

    def test_an_engine_that_miscounts(self, tmp_path):
        found = self.check(tmp_path, counted=99)
        assert (found.status, "gave 100 tokens and counted 99" in found.found) == (Status.PROBLEM, True)

    def test_a_failure_with_its_last_words(self, tmp_path):
        found = self.check(tmp_path, body="sys.exit('error: no such kernel')")
        assert found.status is Status.PROBLEM
        assert "exit code 1. Last lines:\nstarting\nerror: no such kernel" in found.found

    def test_one_that_hangs_is_ended(self, tmp_path):
        found = self.check(tmp_path, body="time.sleep(600)", timeout_s=1.0)
        assert (found.status, "no answer after 1 s" in found.found) == (Status.PROBLEM, True)
        pid = int((tmp_path / "pid").read_text())
        deadline = time.monotonic() + 5
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_a_real_round_trip_leaves_nothing():
    before = set(Path(tempfile.gettempdir()).glob("sweepctl-*"))
    found = check_engine((*engine._CHECK, "--engine", "transformers"))
    assert found.status is Status.OK, found.found
    assert set(Path(tempfile.gettempdir()).glob("sweepctl-*")) <= before


class FakeEngine:
    """Answers as it is told, and remembers whether it was ended."""

    description = "fake 1"

    def __init__(self, logprobs=(-0.5, -1.0), token_ids=(1, 2)):
        self.completion = Completion(list(token_ids), list(logprobs), False, 0, 0)
        self.counted, self.closed = 0, False

    async def attach(self):
        pass

    async def generate(self, request):
        self.counted += request.n * len(self.completion.token_ids)
        return [self.completion] * request.n

    async def counters(self):
        return EngineCounters(completion_tokens=self.counted)

    async def close(self):
        self.closed = True


class TestRoundTrip:
    def round_trip(self, monkeypatch, tmp_path, fake):
        monkeypatch.setattr(engine_check, "start_engine", lambda *_: fake)
        monkeypatch.setattr(engine_check, "_prompt", lambda _: [5, 6])
        return asyncio.run(engine_check.round_trip("builtin:tiny", EngineSettings(), tmp_path, "0,1"))

    def test_tokens_are_those_of_the_second_request(self, monkeypatch, tmp_path):
        fake = FakeEngine()
        result = self.round_trip(monkeypatch, tmp_path, fake)
        assert (result.engine, result.completion_tokens, result.counted_tokens) == ("fake 1", 32, 32)
        assert fake.closed

    @pytest.mark.parametrize(
        ("fake", "said"),
        [
            (FakeEngine(logprobs=(-0.5,)), "not with a log-probability for each"),
            (FakeEngine(logprobs=(), token_ids=()), "without tokens"),
            (FakeEngine(logprobs=(-0.5, 0.1)), "above 0: 0.1"),
        ],
    )
    def test_what_is_no_sample_is_refused_and_the_engine_ended(self, monkeypatch, tmp_path, fake, said):
        with pytest.raises(EngineError, match=said):
            self.round_trip(monkeypatch, tmp_path, fake)
        assert fake.closed


class TestCommand:
    def doctor(self, monkeypatch, capsys, *arguments):
        monkeypatch.setattr(sys, "argv", ["sweepctl", "doctor", *arguments])
        monkeypatch.setenv("COLUMNS", "160")
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out

    def test_a_run_as_json(self, run, monkeypatch, capsys):
        runs = str(run.root.parents[1])
        code, out = self.doctor(monkeypatch, capsys, "Exp1", "--json", "--runs-dir", runs)
        assert (code, json.loads(out)["healthy"]) == (0, True)

    def test_a_problem_is_exit_code_1_with_its_advice(self, run, monkeypatch, capsys):
        cut_weights(run)
        code, out = self.doctor(monkeypatch, capsys, "Exp1", "--runs-dir", str(run.root.parents[1]))
        assert code == 1
        assert "→ remove it; if it is the last, run it again: `sweepctl run SPEC --force --only" in out
        assert out.splitlines()[-1] == "1 problem, 0 warnings, 5 ok"

    def test_a_machine_without_the_engine(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(engine, "check_engine", lambda: pytest.fail("the engine was started"))
        code, out = self.doctor(monkeypatch, capsys, "--no-engine", "--json", "--runs-dir", str(tmp_path))
        content = json.loads(out)
        assert code == (not content["healthy"])
        assert {"python", "torch", "gpu", "cores", "devices", "scratch", "store"} <= {
            finding["check"] for finding in content["findings"]
        }
