"""Whole runs in this process, over engines that are honest, slow, broken or lying."""

import json
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from trainer_factory import LocalEngine, completion, lines
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.config import RunFile
from trainer.conservation import violations
from trainer.engine.protocol import GenerationError
from trainer.errors import EngineError, TrainingError
from trainer.interrupt import Interrupted
from trainer.loop import Loop
from trainer.paths import RunPaths
from trainer.records import RunFinished, RunState
from trainer.trace import TraceWriter


def run_loop(directory, config, engine, meanwhile=None):
    """What `python -m trainer` does with a configuration, without its process."""
    paths = RunPaths(directory)
    file = RunFile(sweep="s", run_name="r", run_id=config.run_id(), config=config)
    with TraceWriter(paths.trace) as trace:
        loop = Loop(file, paths, trace, SimpleNamespace(step=0), lambda: engine)
        state = RunState.FAILED
        try:
            if meanwhile:
                threading.Thread(target=meanwhile, args=(loop,), daemon=True).start()
            loop.run()
            state = RunState.SUCCEEDED
        finally:
            work = loop.close()
            trace.write(
                RunFinished, state=state, reason=None, policy_version=0, wall_s=trace.clock.now(), **work
            )
    return paths


def step_fields(paths, *names):
    return [tuple(record[name] for name in names) for record in lines(paths.trace, "step")]


def is_probe(request):
    return request.max_tokens > 8


def assert_every_dispatch_has_one_fate(directory):
    trace = RunPaths(directory).trace
    ended = sorted(record["group"] for record in lines(trace, "group"))
    assert ended == [record["group"] for record in lines(trace, "dispatch")]


def test_without_staleness_a_run_is_the_same_whatever_the_timing(tmp_path, config, digit_model):
    settings = config(max_steps=3, engine={"dtype": "float32"})
    ends = []
    for name, delays in [("calm", [0.0]), ("wild", [0.05, 0.0, 0.02, 0.0, 0.0])]:
        engine = LocalEngine(digit_model, delays=delays)
        paths = run_loop(tmp_path / name, settings, engine)
        assert violations(paths.trace, settings) == []
        trained = [record for record in lines(paths.trace, "group") if record["fate"] == "trained"]
        assert all(record["version_min"] == record["version_max"] == record["step"] for record in trained)
        assert [max(step) for step in step_fields(paths, "off_policy_steps_max")] == [0, 0, 0]
        ends.append(
            (
                step_fields(paths, "loss", "grad_norm", "reward_mean", "completion_tokens"),
                load_file(paths.checkpoint(3) / "model.safetensors"),
            )
        )
    (calm, first), (wild, second) = ends
    assert calm == wild
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_engine_generates_with_the_weights_of_the_version_it_says(tmp_path, config, digit_model):
    settings = config(max_staleness=1, prompts_per_rollout_sync=4, optim={"lr": 1e-2})
    engine = LocalEngine(digit_model)
    paths = run_loop(tmp_path, settings, engine)
    assert [version for version, _ in engine.loads] == [0, 0, 2, 4]  # the first only for the proof
    assert engine.most_running_during_a_load == 0
    loads = dict(engine.loads)
    assert any(not torch.equal(loads[0][name], loads[4][name]) for name in loads[0])
    saved = load_file(paths.checkpoint(4) / "model.safetensors")
    assert all(torch.equal(saved[name], loads[4][name]) for name in saved)
    assert engine.closed


def test_metrics_of_on_policy_steps_say_that_they_are(tmp_path, config, digit_model):
    paths = run_loop(tmp_path, config(engine={"dtype": "float32"}), LocalEngine(digit_model))
    for ratio, ess, clipped, gap in step_fields(
        paths, "ratio_mean", "ess", "clip_fraction", "logprob_gap_max"
    ):
        assert ratio == pytest.approx(1, abs=1e-3)
        assert ess == pytest.approx(1, abs=1e-3)
        assert (clipped, gap) == (0, pytest.approx(0, abs=1e-3))


def test_reward_counts_filtered_groups_too(tmp_path, config, digit_model):
    paths = run_loop(tmp_path, config(), LocalEngine(digit_model))
    groups = lines(paths.trace, "group")
    assert any(record["fate"] == "filtered" for record in groups)
    texts = lines(paths.rollouts)
    rewards = {t["group"]: [c["reward"] for c in t["completions"]] for t in texts}
    for record in lines(paths.trace, "step"):
        if record["step"] == 0:
            mean, filtered = record["reward_mean"], record["filtered_groups"]
    last = max(record["group"] for record in groups if record["step"] == 0)
    early = [record["group"] for record in groups if record["fate"] == "filtered" and record["group"] <= last]
    first = [record["group"] for record in groups if record["step"] == 0] + early
    # Groups behind the last trained one may have been filtered in time to count as well.
    assert filtered >= len(early)
    if filtered == len(early):
        values = [reward for number in first for reward in rewards[number]]
        assert mean == pytest.approx(sum(values) / len(values))


def test_a_loss_that_is_no_number_ends_the_run_with_every_group_accounted_for(tmp_path, config, digit_model):
    def spoil(version, request, rows):
        if version < 2 or is_probe(request):
            return rows
        return [completion(row.token_ids, [float("nan")] * len(row.token_ids), version) for row in rows]

    with pytest.raises(TrainingError, match="not finite"):
        run_loop(tmp_path, config(max_staleness=1), LocalEngine(digit_model, spoil=spoil))
    assert_every_dispatch_has_one_fate(tmp_path)
    assert 2 <= len(step_fields(RunPaths(tmp_path), "step")) < 4
    assert RunPaths(tmp_path).last_checkpoint() is None


def test_an_engine_that_dies_ends_the_run_with_every_group_accounted_for(tmp_path, config, digit_model):
    def spoil(version, request, rows):
        if version == 2:
            raise EngineError("the engine has ended")
        return rows

    with pytest.raises(EngineError, match="has ended"):
        run_loop(tmp_path, config(max_staleness=1), LocalEngine(digit_model, spoil=spoil))
    assert_every_dispatch_has_one_fate(tmp_path)


def test_requests_that_fail_now_and_then_do_not_stop_a_run(tmp_path, config, digit_model):
    calls = []

    def spoil(version, request, rows):
        calls.append(version)
        if len(calls) % 3 == 0 and not is_probe(request):
            raise GenerationError("busy")
        return rows

    paths = run_loop(tmp_path, config(), LocalEngine(digit_model, spoil=spoil))
    assert len(step_fields(paths, "step")) == 4
    assert {record["fate"] for record in lines(paths.trace, "group")} >= {"trained", "failed"}
    assert_every_dispatch_has_one_fate(tmp_path)


def test_an_engine_that_loaded_something_else_is_found_out_and_the_tensor_named(
    tmp_path, config, digit_model
):
    class Careless(LocalEngine):
        async def load_weights(self, weights, version):
            checksums = await super().load_weights(weights, version)
            if version == 1:
                checksums["model.norm.weight"] = "0" * 16
            return checksums

    with pytest.raises(EngineError, match=r"policy version 1: .*\['model\.norm\.weight'\]"):
        run_loop(tmp_path, config(), Careless(digit_model))
    assert_every_dispatch_has_one_fate(tmp_path)


def test_an_engine_that_computes_with_other_weights_than_it_says_is_found_out_before_the_first_step(
    tmp_path, config, digit_model, tiny_model
):
    class Stubborn(LocalEngine):
        async def load_weights(self, weights, version):
            kept = {name: tensor.clone() for name, tensor in self._model.state_dict().items()}
            checksums = await super().load_weights(weights, version)
            self._model.load_state_dict(kept)
            return checksums

    with pytest.raises(EngineError, match=r"differ from the learner's by .* nats"):
        run_loop(tmp_path, config(), Stubborn(digit_model))  # it holds the base weights already
    assert lines(tmp_path / "trace.jsonl", "dispatch") == []


@pytest.mark.parametrize(
    "tensor",
    [
        "model.embed_tokens.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.0.mlp.gate_proj.weight",
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "model.layers.0.self_attn.k_norm.weight",
        "model.layers.0.self_attn.k_proj.weight",
        "model.layers.0.self_attn.o_proj.weight",
        "model.layers.0.self_attn.q_norm.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.self_attn.v_proj.weight",
        "model.norm.weight",
    ],
)
def test_an_engine_that_goes_on_computing_with_a_copy_of_one_tensor_is_found_out(
    tmp_path, config, tiny_model, tensor
):
    class Packed(LocalEngine):
        async def load_weights(self, weights, version):
            kept = self._model.state_dict()[tensor].clone()
            checksums = await super().load_weights(weights, version)
            self._model.state_dict()[tensor].copy_(kept)
            return checksums

    with pytest.raises(EngineError, match=r"differ from the learner's by .* nats"):
        run_loop(tmp_path, config(model=str(tiny_model)), Packed(tiny_model))


@pytest.mark.parametrize("moment", ["wait", "drain"])
def test_an_interruption_leaves_records_that_add_up(tmp_path, config, digit_model, moment):
    # Either all groups of step 1 never come back, or the last of those sent at first: step 0 is
    # trained without it, and the sync after that has to wait for it.
    problems = tmp_path / "ones.jsonl"
    problems.write_text(json.dumps({"question": "Which?", "answer": "#### 1"}) + "\n")
    settings = config(
        max_steps=8,
        max_staleness=1 if moment == "drain" else 0,
        task={"name": "gsm8k", "path": str(problems)},
    )
    trace = tmp_path / "trace.jsonl"

    class Slow(LocalEngine):
        groups = 0

        async def generate(self, request):
            self.groups += not is_probe(request)
            hangs = self.groups == 4 if moment == "drain" else self._version == 1
            self._delays = [60.0 if hangs and not is_probe(request) else 0.0]
            rows = await super().generate(request)
            if is_probe(request):
                return rows
            return [completion(self._tokenizer.encode(f" #### {i}"), version=self._version) for i in range(4)]

    def interrupt(loop):
        while not trace.exists() or not any(r["fate"] == "trained" for r in lines(trace, "group")):
            time.sleep(0.02)
        time.sleep(0.7)
        loop.fail(Interrupted("received SIGINT"))

    began = time.monotonic()
    with pytest.raises(Interrupted):
        run_loop(tmp_path, settings, Slow(digit_model), meanwhile=interrupt)
    assert time.monotonic() - began < 30
    trained = [record["step"] for record in lines(trace, "group") if record["fate"] == "trained"]
    assert trained == [0, 0]
    assert len(lines(trace, "step")) == (0 if moment == "drain" else 1)
    assert_every_dispatch_has_one_fate(tmp_path)
    assert violations(trace, settings) == []
    assert "aborted" in {record["fate"] for record in lines(trace, "group")}


def test_checkpoints_are_written_as_often_as_asked_and_load_with_their_tokenizer(
    tmp_path, config, digit_model
):
    settings = config(checkpoint={"every_steps": 2}, max_steps=5)
    paths = run_loop(tmp_path, settings, LocalEngine(digit_model))
    folders = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert folders == ["step_000002", "step_000004", "step_000005"]
    records = lines(paths.trace, "checkpoint")
    assert [record["step"] for record in records] == [2, 4, 5]
    for record in records:
        files = list((tmp_path / record["path"]).iterdir())
        assert record["bytes"] == sum(path.stat().st_size for path in files)
    model = AutoModelForCausalLM.from_pretrained(paths.last_checkpoint())
    assert model.dtype == torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(paths.last_checkpoint())
    original = AutoTokenizer.from_pretrained(digit_model)
    assert tokenizer.encode("Q: 1 + 2?\nA:") == original.encode("Q: 1 + 2?\nA:")
    assert json.loads((paths.last_checkpoint() / "config.json").read_text())["architectures"] == [
        "Qwen3ForCausalLM"
    ]
