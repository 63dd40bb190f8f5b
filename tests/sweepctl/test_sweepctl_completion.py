"""What the shell offers at Tab, through the protocol of its completion scripts."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from factories.written_sweep import WrittenSweep

COMMAND = Path(sys.executable).with_name("sweepctl")
SPEC = "version: 1\nname: x\nprofiles: {gpu: {when: cuda}, cpu: {}}\n"


@pytest.fixture
def offers(tmp_path):
    """What is offered for the last of the words, and nothing on stderr."""

    def complete(*words):
        environment = os.environ | {
            "_SWEEPCTL_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["sweepctl", *words]),
            "COMP_CWORD": str(len(words)),
        }
        done = subprocess.run(
            [COMMAND], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    return complete


@pytest.fixture
def sweeps(tmp_path):
    sweep = WrittenSweep(tmp_path / "runs")
    sweep.run("s0_a", "succeeded")
    sweep.run("s1_a", infeasible="2 > 1")
    older = WrittenSweep(tmp_path / "runs", "older")
    older.run("t0")
    os.utime(older.paths.manifest, (1, 1))
    return sweep


@pytest.mark.usefixtures("sweeps")
def test_sweeps_and_runs_are_those_that_are_there(offers):
    assert sorted(offers("status", "")) == ["demo", "older"]
    assert offers("status", "de") == ["demo"]
    assert sorted(offers("logs", "")) == ["Exp1", "demo/", "older/", "s0_a", "s1_a"]
    assert offers("logs", "older/") == ["older/t0", "older/Exp1"]
    assert offers("logs", "nowhere/") == []


def test_the_runs_folder_may_be_elsewhere(offers, tmp_path):
    WrittenSweep(tmp_path / "elsewhere", "other")
    assert offers("status", "--runs-dir", "elsewhere", "") == ["other"]
    assert offers("status", "") == []


@pytest.fixture
def specs(tmp_path):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "mine" / "old").mkdir(parents=True)
    for path in ("here.yaml", "sweeps/there.yml", "mine/one.yaml"):
        (tmp_path / path).write_text("# a comment\n" + SPEC)
    (tmp_path / "other.yaml").write_text("services: {}\n")
    (tmp_path / "sweeps" / "data.yaml").write_bytes(b"\xff\xfe\x00")


@pytest.mark.usefixtures("specs")
def test_specs_are_found_here_and_in_sweeps_and_where_one_points(offers):
    assert offers("run", "") == ["here.yaml", "sweeps/there.yml"]
    assert offers("plan", "sw") == ["sweeps/there.yml"]
    assert offers("validate", "mine/") == ["mine/old/", "mine/one.yaml"]


@pytest.mark.usefixtures("specs")
def test_profiles_are_those_of_the_spec(offers):
    assert offers("run", "here.yaml", "--profile", "") == ["auto", "gpu", "cpu"]
    assert offers("run", "here.yaml", "-j", "2", "--profile", "g") == ["gpu"]
    assert offers("run", "--profile", "") == ["auto"]


@pytest.mark.usefixtures("specs", "sweeps")
@pytest.mark.parametrize("text", ["{", "[]", '{"runs": 1}', '{"runs": [1]}', "\x00"])
def test_what_is_damaged_is_passed_over_in_silence(offers, sweeps, tmp_path, text):
    sweeps.paths.manifest.write_text(text)
    (tmp_path / "here.yaml").write_text(text)
    offers("logs", "s")
    assert offers("run", "here.yaml", "--profile", "") == ["auto"]


@pytest.mark.usefixtures("specs")
def test_an_answer_comes_at_once(offers):
    began = time.monotonic()
    offers("run", "")
    assert time.monotonic() - began < 2.0  # 0.25 s when nothing else is going on


def test_pydantic_is_not_imported_for_it(sweeps):
    code = f"""
import sys, typer
from sweepctl.cli.completion import complete_profile, complete_run, complete_spec, complete_sweep
context = type("Context", (), {{"params": {{"runs_dir": {str(sweeps.runs_dir)!r}}}, "args": []}})()
assert complete_run(context, "s0") == [("s0_a", "Exp1")]
for complete in (complete_profile, complete_spec, complete_sweep):
    complete(context, "")
print(sorted({{"pydantic", "rich.live", "psutil"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
