"""Rewards in worker processes: hanging, crashing and lying ones, and none left behind."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading

import psutil
import pytest

from trainer.errors import ConfigError
from trainer.tasks import Problem, Task
from trainer.verifier import VerificationError, Verifier

PROBLEM = Problem("p-0", "What is 2 + 3?", "#### 5", {"level": 3})
WORD = Problem("p-1", "And 3 + 4?", "#### 7")


@pytest.fixture
def user_reward(tmp_path, monkeypatch):
    """Writes a function `reward` with this body into the working directory; returns its dotted path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(body):
        module = f"reward_{tmp_path.name}"
        source = "import os, signal, subprocess, sys, time\n\n\ndef reward(completion, answer, row):\n"
        (tmp_path / f"{module}.py").write_text(source + textwrap.indent(textwrap.dedent(body), "    "))
        return f"{module}:reward"

    return write


def verify(reward, scenario, timeout_s=30.0):
    """Run `scenario(verifier)` on an event loop; whatever happens, no worker may outlive it."""
    before = set(multiprocessing.active_children())

    async def run():
        verifier = Verifier(Task([PROBLEM], [], (), reward, timeout_s))
        try:
            return await scenario(verifier)
        finally:
            await verifier.close()

    result = asyncio.run(run())
    assert set(multiprocessing.active_children()) == before
    return result


async def existing(path):
    """The content of a file, once something has written it."""
    while not path.exists() or not path.read_text().endswith("\n"):
        await asyncio.sleep(0.01)
    return path.read_text()


def is_gone(pid):
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


async def gone(pid):
    while not is_gone(pid):
        await asyncio.sleep(0.01)


def test_exact_match_needs_no_process():
    before = set(multiprocessing.active_children())

    async def scenario(verifier):
        rewards = await verifier.rewards(PROBLEM, ["#### 5", "#### 6"])
        assert set(multiprocessing.active_children()) == before
        return rewards

    assert verify("exact_match", scenario) == [1.0, 0.0]


def test_math_verify_answers_in_the_order_of_the_completions():
    async def scenario(verifier):
        texts = ["#### 5", "6", r"\boxed{\frac{10}{2}}", "#### 6"]
        return await asyncio.gather(verifier.rewards(PROBLEM, texts), verifier.rewards(WORD, ["#### 7"]))

    assert verify("math_verify", scenario) == [[1.0, 0.0, 1.0, 0.0], [1.0]]


def test_computer_algebra_that_never_returns_ends_at_the_limit_and_the_next_group_is_verified():
    async def scenario(verifier):
        assert await verifier.rewards(PROBLEM, ["#### 5"]) == [1.0]
        with pytest.raises(VerificationError) as error:
            await verifier.rewards(PROBLEM, ["#### 5", r"\boxed{9^{9^9}}"])
        assert str(error.value) == (
            "p-0: reward math_verify did not return within task.reward_timeout_s = 2 s; "
            r"the completion: '\\boxed{9^{9^9}}'"
        )
        return await verifier.rewards(PROBLEM, ["#### 5"])

    assert verify("math_verify", scenario, timeout_s=2.0) == [1.0]


def test_a_users_reward_sees_completion_answer_and_row(user_reward):
    reward = user_reward("return len(completion) + 10 * (answer == '#### 5') + 100 * row['level']")

    async def scenario(verifier):
        return await verifier.rewards(PROBLEM, ["", "abc"])

    assert verify(reward, scenario) == [310.0, 313.0]


def test_workers_import_no_torch_and_ignore_interrupts(user_reward):
    reward = user_reward("""
        import trainer.rewards.symbolic
        os.kill(os.getpid(), signal.SIGINT)
        return "torch" in sys.modules or "transformers" in sys.modules
    """)

    async def scenario(verifier):
        return await verifier.rewards(PROBLEM, ["#### 5"])

    assert verify(reward, scenario) == [0.0]


@pytest.mark.parametrize(
    ("completion", "message"),
    [
        ("1 / 0", "raised ZeroDivisionError: division by zero; the completion: '1 / 0'"),
        ("exit('enough')", "raised SystemExit: enough"),
        ("[].pop(" + 60 * " " + ")", r"raised IndexError: pop from empty list; .*'\[\].pop\( +…'"),
        ("int('first' + chr(10) + 'last')", "raised ValueError: .*last"),
        ("float('nan')", "returned nan, which is no finite number"),
        ("-float('inf')", "returned -inf, which is no finite number"),
        ("10 ** 400", "raised OverflowError: int too large to convert to float"),
        ("'1.0'", "returned '1.0', which is no finite number"),
        ("None", "returned None, which is no finite number"),
    ],
)
def test_a_reward_that_is_none_fails_its_group_only(user_reward, completion, message):
    """The same process goes on."""
    reward = user_reward("return eval(completion)")

    async def scenario(verifier):
        (worker,) = await verifier.rewards(PROBLEM, ["os.getpid()"])
        with pytest.raises(VerificationError, match=f"p-0: reward {reward} {message}"):
            await verifier.rewards(PROBLEM, ["1", completion])
        assert await verifier.rewards(PROBLEM, ["os.getpid()", "True", "2.5"]) == [worker, 1.0, 2.5]

    verify(reward, scenario)


@pytest.mark.parametrize(
    ("completion", "cause"),
    [
        ("os._exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    ],
)
def test_a_worker_that_dies_fails_its_group_and_is_replaced(user_reward, completion, cause):
    reward = user_reward("return eval(completion)")

    async def scenario(verifier):
        (worker,) = await verifier.rewards(PROBLEM, ["os.getpid()"])
        with pytest.raises(VerificationError, match=f"ended its process \\({cause}\\); the completion: 'os"):
            await verifier.rewards(PROBLEM, [completion])
        (other,) = await verifier.rewards(PROBLEM, ["os.getpid()"])
        assert other != worker
        assert is_gone(int(worker))

    verify(reward, scenario)


def test_a_worker_that_died_while_it_waited_fails_one_group_and_is_replaced(user_reward):
    reward = user_reward("return os.getpid()")

    async def scenario(verifier):
        (worker,) = await verifier.rewards(PROBLEM, ["a"])
        os.kill(int(worker), signal.SIGKILL)
        await gone(int(worker))
        with pytest.raises(VerificationError, match=r"ended its process \(SIGKILL\)"):
            await verifier.rewards(PROBLEM, ["a"])
        assert await verifier.rewards(PROBLEM, ["a"]) != [worker]

    verify(reward, scenario)


def test_a_row_that_cannot_be_sent_fails_its_group_and_the_worker_stays(user_reward):
    reward = user_reward("return os.getpid()")
    strange = Problem("p-2", "Who?", "#### 5", {"column": threading.Lock()})

    async def scenario(verifier):
        (worker,) = await verifier.rewards(PROBLEM, ["a"])
        with pytest.raises(VerificationError, match=r"p-2: .* cannot be sent the row: TypeError: .*lock"):
            await verifier.rewards(strange, ["a"])
        assert await verifier.rewards(PROBLEM, ["a"]) == [worker]

    verify(reward, scenario)


HANG = """
    if completion == "hang":
        with open("pids", "w") as file:
            print(os.getpid(), subprocess.Popen(["sleep", "600"]).pid, file=file)
        while True:
            pass
    return 1
"""


def test_a_hanging_group_delays_no_other_and_is_killed_with_what_it_started(user_reward, tmp_path):
    async def scenario(verifier):
        hanging = asyncio.create_task(verifier.rewards(PROBLEM, ["hang"]))
        pids = [int(pid) for pid in (await existing(tmp_path / "pids")).split()]
        for _ in range(3):
            assert await verifier.rewards(WORD, ["a", "b"]) == [1.0, 1.0]
        assert not hanging.done()
        with pytest.raises(VerificationError, match=r"task.reward_timeout_s = 5 s; the completion: 'hang'"):
            await hanging
        for pid in pids:
            await gone(pid)

    verify(user_reward(HANG), scenario, timeout_s=5.0)


def test_a_cancelled_group_leaves_no_process_and_the_verifier_usable(user_reward, tmp_path):
    async def scenario(verifier):
        hanging = asyncio.create_task(verifier.rewards(PROBLEM, ["hang"]))
        pids = [int(pid) for pid in (await existing(tmp_path / "pids")).split()]
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        for pid in pids:
            await gone(pid)
        assert await verifier.rewards(WORD, ["a"]) == [1.0]

    verify(user_reward(HANG), scenario)


def test_closing_ends_busy_and_waiting_workers_and_fails_what_is_left(user_reward, tmp_path):
    before = set(multiprocessing.active_children())

    async def scenario(verifier):
        assert await verifier.rewards(WORD, ["a"]) == [1.0]
        groups = [asyncio.create_task(verifier.rewards(PROBLEM, ["hang"])) for _ in range(20)]
        await existing(tmp_path / "pids")
        await verifier.close()
        outcomes = await asyncio.gather(*groups, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [VerificationError] * 20
        assert set(multiprocessing.active_children()) == before

    verify(user_reward(HANG), scenario)


def test_many_groups_share_few_workers(user_reward):
    reward = user_reward("return os.getpid()")

    async def scenario(verifier):
        groups = await asyncio.gather(*(verifier.rewards(PROBLEM, ["a", "b", "c"]) for _ in range(30)))
        assert all(len(set(group)) == 1 for group in groups)  # a group stays with one worker
        return len({group[0] for group in groups})

    assert 1 < verify(reward, scenario) <= 8


def test_workers_end_with_a_process_that_is_killed(user_reward, tmp_path):
    reward = user_reward(HANG)
    program = f"""
import asyncio
from trainer.tasks import Problem, Task
from trainer.verifier import Verifier
problem = Problem("p", "", "")
asyncio.run(Verifier(Task([problem], [], (), {reward!r}, 600)).rewards(problem, ["hang"]))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment)
    worker, child = (int(pid) for pid in asyncio.run(existing(tmp_path / "pids")).split())
    parent.kill()
    parent.wait()
    try:
        asyncio.run(asyncio.wait_for(gone(worker), 10))
    finally:
        os.kill(child, signal.SIGKILL)  # only a worker's own end is promised when nobody is left to see to it


def test_a_reward_that_does_not_exist_is_refused_before_anything_starts():
    with pytest.raises(ConfigError, match="did you mean exact_match"):
        Verifier(Task([PROBLEM], [], (), "exact_mach", 1.0))
