"""Where results came from: a commit and a diff that give the tree again, and the environment's identity."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl import git, hardware, provenance
from sweepctl.git import GitState, git_state, git_state_of
from sweepctl.plan.plan import load_plan
from sweepctl.running.manifest import write_manifest


def run_git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, input=stdin).stdout.decode().strip()


def new_repository(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    run_git(folder, "init", "-q")
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    run_git(folder, "add", "-A")
    run_git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


@pytest.fixture
def repository(tmp_path):
    return new_repository(tmp_path / "repository", {"a.py": b"one\ntwo\n", "sub/b.txt": b"b\n"})


def test_a_clean_tree_is_its_commit(repository):
    commit = run_git(repository, "rev-parse", "HEAD")
    assert git_state(repository / "sub") == GitState(repository, commit, b"")
    assert git_state(repository).dirty is False


def test_no_repository_and_none_with_a_commit(tmp_path):
    assert git_state(tmp_path) == GitState()
    run_git(tmp_path, "init", "-q")
    assert git_state(tmp_path).dirty is None
    assert git_state(tmp_path / "not there") == GitState()


contents = st.binary(max_size=60).map(lambda data: data.replace(b"\0", b"0"))


@settings(max_examples=15, deadline=None)
@given(changed=contents, added=contents)
def test_commit_and_diff_give_the_tree_again(tmp_path_factory, changed, added):
    here = new_repository(tmp_path_factory.mktemp("here"), {"a.py": b"one\ntwo\n", "gone": b"x\n"})
    there = tmp_path_factory.mktemp("there")
    run_git(there, "clone", "-q", str(here), "tree")
    (here / "a.py").write_bytes(changed)
    (here / "gone").unlink()
    for name in ("new.py", "with space.txt", "ä/deep.txt"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_bytes(added)
    run_git(there / "tree", "apply", "--whitespace=nowarn", stdin=git_state(here).diff)
    names = {
        path.relative_to(here) for path in here.rglob("*") if ".git" not in path.parts and path.is_file()
    }
    found = {
        path.relative_to(there / "tree")
        for path in (there / "tree").rglob("*")
        if ".git" not in path.parts and path.is_file()
    }
    assert found == names
    assert all((there / "tree" / name).read_bytes() == (here / name).read_bytes() for name in names)


def test_untracked_files_that_are_large_or_no_text_are_named(repository):
    (repository / "model.bin").write_bytes(b"\0" * 10)
    (repository / "large.txt").write_bytes(b"x" * (64 * 1024 + 1))
    (repository / "link").symlink_to("/etc/hostname")
    assert git_state(repository).diff.decode().splitlines() == [
        "# untracked, not shown: 'large.txt'",
        "# untracked, not shown: 'link'",
        "# untracked, not shown: 'model.bin'",
    ]


def test_ignored_files_and_the_folder_of_results_do_not_count(repository):
    (repository / ".gitignore").write_text("*.log\n")
    run_git(repository, "add", "-A")
    run_git(repository, "commit", "-q", "-m", "second")
    (repository / "x.log").write_text("x")
    (repository / "results").mkdir()
    (repository / "results" / "trace.jsonl").write_text("{}\n")
    assert git_state(repository).dirty is True
    assert git_state(repository, without=repository / "results").dirty is False


def test_a_long_diff_is_cut_off_with_a_word(repository, monkeypatch):
    monkeypatch.setattr(git, "MAX_DIFF_BYTES", 300)
    (repository / "a.py").write_text("".join(f"line {n}\n" for n in range(100)))
    whole = len(run_git(repository, "diff", "HEAD")) + 1  # the last newline
    *lines, last = git_state(repository).diff.decode().splitlines()
    assert sum(len(line) + 1 for line in lines) <= 300
    assert lines[-1].startswith("+line ")
    assert last == f"# cut off here: the diff has {whole} bytes"


def test_a_repository_around_an_installed_package_is_not_its_own(repository):
    (repository / ".gitignore").write_text("venv/\n")
    package = repository / "venv" / "package.py"
    package.parent.mkdir()
    package.write_text("")
    assert git_state_of(package) == GitState()
    assert git_state_of(repository / "a.py").root == repository


class TestManifest:
    @pytest.fixture
    def spec(self, tmp_path):
        folder = new_repository(tmp_path / "specs", {"README": b""})
        (folder / "mine.yaml").write_text("{version: 1, name: mine, parameters: {max_staleness: [0, 1]}}")
        return folder / "mine.yaml"

    def write(self, spec, tmp_path, *, trains):
        plan = load_plan(spec, "auto", [], tmp_path / "runs")
        plan.paths.root.mkdir(parents=True, exist_ok=True)
        write_manifest(plan, trains=trains)
        return json.loads(plan.paths.manifest.read_text()), plan.paths

    def test_the_diff_lies_beside_the_manifest_that_has_its_hash(self, spec, tmp_path):
        manifest, paths = self.write(spec, tmp_path, trains=True)
        found = manifest["git"]["spec"]
        assert (found["commit"], found["dirty"]) == (run_git(spec.parent, "rev-parse", "HEAD"), True)
        diff = (paths.root / found["diff"]["file"]).read_bytes()
        assert b"+{version: 1, name: mine" in diff
        assert hashlib.sha256(diff).hexdigest() == found["diff"]["sha256"]

    def test_it_stays_until_something_is_trained_again(self, spec, tmp_path):
        before, paths = self.write(spec, tmp_path, trains=True)
        run_git(spec.parent, "add", "-A")
        run_git(spec.parent, "commit", "-q", "-m", "the spec")
        assert self.write(spec, tmp_path, trains=False)[0]["git"] == before["git"]
        after, _ = self.write(spec, tmp_path, trains=True)
        assert after["git"]["spec"] == {"commit": run_git(spec.parent, "rev-parse", "HEAD"), "dirty": False}
        # Runs of before came from it.
        assert paths.git_diff(before["git"]["spec"]["diff"]["sha256"]).exists()


def test_the_environment_names_versions_hardware_and_host():
    found = provenance.environment()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["packages"].keys() == {"torch", "vllm", "transformers", "lm-eval"}
    assert found["cores"] >= 1
    assert 0 < found["memory_gib"] < 1e5


@pytest.mark.parametrize(
    ("key", "value", "counts"),
    [
        ("host", "another", False),
        ("kernel", "7.0.0", False),
        ("memory_gib", 1.0, False),
        ("python", "3.99.0", True),
        ("cpu", "another", True),
        ("cpu_limit", 0.5, True),
        ("gpu_names", ["H200"], True),
        ("driver", "999.1", True),
        ("packages", {"torch": "9.0"}, True),
    ],
)
def test_what_changes_with_a_reboot_changes_no_identity(key, value, counts):
    found = provenance.environment()
    assert provenance.environment_id(found) == provenance.environment_id()
    assert (provenance.environment_id({**found, key: value}) != provenance.environment_id(found)) is counts


SMI = """\
#!/bin/sh
case "$1" in
  -L) echo "GPU 0: NVIDIA H200 (UUID: a)"; echo "GPU 1: NVIDIA H200 (UUID: b)" ;;
  *) echo "NVIDIA H200, 570.86.15, 143771, 143000"; echo "NVIDIA H200, 570.86.15, 143771, 1024" ;;
esac
"""


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """An nvidia-smi that says what the fixture's caller writes into it."""

    def install(script: str) -> None:
        path = tmp_path / "bin" / "nvidia-smi"
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)
        hardware.gpus.cache_clear()

    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    yield install
    hardware.gpus.cache_clear()


def test_gpus_by_name_with_their_driver(smi):
    smi(SMI)
    first, second = hardware.gpus()
    assert (first.name, first.driver, first.memory_total_mib) == ("NVIDIA H200", "570.86.15", 143771)
    assert second.memory_free_mib == 1024


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\necho 'No devices were found'\n"])
def test_an_nvidia_smi_that_fails_is_no_gpu(smi, script):
    smi(script)
    assert hardware.gpus() == ()


@pytest.mark.parametrize(
    ("files", "cores", "memory"),
    [
        ({"cpu.max": "150000 100000\n", "memory.max": "2147483648\n"}, 1.5, 2**31),
        ({"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None),
        (
            {
                "cpu/cpu.cfs_quota_us": "400000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": "1073741824\n",
            },
            4.0,
            2**30,
        ),
        (
            {
                "cpu/cpu.cfs_quota_us": "-1\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            None,
            None,
        ),
        ({}, None, None),
    ],
)
def test_limits_of_both_versions_of_control_groups(tmp_path, files, cores, memory):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert hardware.cpu_limit(tmp_path) == cores
    assert hardware.memory_limit(tmp_path) == memory
