"""`sweepctl doctor`: the round trip of a tiny engine."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

import pytest

from sweepctl.doctor import engine
from sweepctl.doctor.engine import check_engine
from sweepctl.doctor.finding import Status
from trainer.engine import check as engine_check
from trainer.engine.protocol import Completion, EngineCounters
from trainer.errors import EngineError
from trainer.settings import EngineSettings

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
