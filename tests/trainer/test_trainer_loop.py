"""Whole runs in this process, over engines that are honest, slow, broken or lying."""

import json

import pytest
import torch
from safetensors.torch import load_file
from trainer_factory import LocalEngine, completion, lines, run_loop, step_fields
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.conservation import violations
from trainer.engine.protocol import GenerationError
from trainer.errors import EngineError, TrainingError
from trainer.paths import RunPaths


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


@pytest.mark.parametrize("in_flight", ["wait", "abort", "keep"])
@pytest.mark.parametrize("staleness_policy", ["admission", "evict_requeue"])
def test_every_policy_at_every_sync_keeps_its_bound_and_its_records_add_up(
    tmp_path, config, digit_model, staleness_policy, in_flight
):
    settings = config(
        max_steps=6,
        max_staleness=2,
        prompts_per_rollout_sync=4,
        prompts_per_forward_backward=1,
        staleness_policy=staleness_policy,
        max_inflight_groups=12 if staleness_policy == "evict_requeue" else None,
        in_flight=in_flight,
    )
    engine = LocalEngine(digit_model, delays=[0.0, 0.0, 0.0, 0.0, 0.5])
    paths = run_loop(tmp_path, settings, engine)
    assert violations(paths.trace, settings) == []
    assert_every_dispatch_has_one_fate(tmp_path)
    groups = lines(paths.trace, "group")
    trained = [record for record in groups if record["fate"] == "trained"]
    assert len(trained) == 12
    crossed = [record for record in groups if (record["version_max"] or 0) > record["version_min"]]
    fates = {record["fate"] for record in groups}
    assert bool(crossed) == (in_flight == "keep")
    assert ("aborted" in fates) or in_flight != "abort"
    assert ("evicted" in fates) or staleness_policy != "evict_requeue"
    assert ("evicted" not in fates) or staleness_policy != "admission"
    if in_flight != "keep":
        assert engine.most_running_during_a_load == 0


def test_the_streaming_learner_trains_on_groups_as_they_arrive_and_takes_the_same_step(
    tmp_path, config, digit_model
):
    ends, waits = [], []
    for chunk in (2, 1):
        settings = config(max_steps=2, prompts_per_forward_backward=chunk, engine={"dtype": "float32"})
        paths = run_loop(tmp_path / str(chunk), settings, LocalEngine(digit_model, delays=[0.0, 0.2]))
        ends.append(load_file(paths.checkpoint(2) / "model.safetensors"))
        spans = [s["name"] for s in lines(paths.trace, "span") if s["lane"] == "learner" and s["step"] == 0]
        waits.append(spans.count("wait"))
        consumed = [r["consumed_s"] for r in lines(paths.trace, "group") if r["step"] == 0]
        assert (len(set(consumed)) == 1) == (chunk == 2)
    assert waits == [1, 2]
    for name, tensor in ends[0].items():
        # Sums in another order; AdamW turns rounding of small gradients into up to lr = 1e-3 a step.
        torch.testing.assert_close(ends[1][name], tensor, rtol=0, atol=2e-5)


def test_spans_and_waits_add_up_to_the_time_the_steps_took(tmp_path, config, digit_model):
    settings = config(max_steps=6, max_staleness=1, checkpoint={"every_steps": 2})
    paths = run_loop(tmp_path, settings, LocalEngine(digit_model, delays=[0.05, 0.0]))
    steps = lines(paths.trace, "step")
    start_s, end_s = steps[0]["start_s"], steps[-1]["start_s"] + steps[-1]["wall_s"]
    assert sum(record["wall_s"] for record in steps) == pytest.approx(end_s - start_s, rel=1e-6)
    spans = lines(paths.trace, "span")
    for record in steps:
        lanes = [s for s in spans if s["step"] == record["step"] and s["lane"] in ("learner", "sync")]
        in_spans = sum(s["end_s"] - s["start_s"] for s in lanes)
        assert in_spans == pytest.approx(record["wall_s"] - record["other_s"], abs=0.01 * record["wall_s"])
    within = [
        (s["name"], max(s["start_s"], start_s), min(s["end_s"], end_s))
        for s in spans
        if s["lane"] == "engine"
    ]
    lane = sum(max(0.0, end - begin) for _, begin, end in within)
    assert lane == pytest.approx(end_s - start_s, rel=0.01)
    idle = sum(max(0.0, end - begin) for name, begin, end in within if name != "generate")
    assert sum(record["engine_idle_s"] for record in steps) == pytest.approx(idle, abs=0.01 * lane)


def test_the_age_of_groups_is_split_into_in_flight_and_in_queue(tmp_path, config, digit_model):
    settings = config(max_steps=6, max_staleness=2)
    paths = run_loop(tmp_path, settings, LocalEngine(digit_model))
    groups = [record for record in lines(paths.trace, "group") if record["fate"] == "trained"]
    for record in lines(paths.trace, "step"):
        mine = [group for group in groups if group["step"] == record["step"]]
        in_flight = [group["finished_version"] - group["version_min"] for group in mine]
        in_queue = [group["step"] - group["finished_version"] for group in mine]
        assert record["in_flight_steps_mean"] == pytest.approx(sum(in_flight) / len(mine))
        assert record["in_queue_steps_mean"] == pytest.approx(sum(in_queue) / len(mine))
        total = record["in_flight_steps_mean"] + record["in_queue_steps_mean"]
        assert total == pytest.approx(record["off_policy_steps_mean"])
        queued = [group["consumed_s"] - group["verified_s"] for group in mine]
        assert record["queue_s_mean"] == pytest.approx(sum(queued) / len(mine))
        assert min(queued) >= 0
    assert record["in_queue_steps_mean"] > 0


def test_held_out_problems_are_evaluated_with_the_weights_of_the_version_named(
    tmp_path, config, digit_model, digit_problems
):
    held_out = tmp_path / "held_out.jsonl"
    rows = [{"question": f"Which digit, {i}?", "answer": f"#### {i}"} for i in range(6)]
    held_out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = config(
        max_steps=4,
        max_staleness=1,
        prompts_per_rollout_sync=4,
        task={
            "name": "gsm8k",
            "path": str(digit_problems),
            "held_out_path": str(held_out),
            "reward": "exact_match",
        },
        held_out={"every_steps": 2, "problems": 5},
    )
    seen = []

    class Watched(LocalEngine):
        async def generate(self, request):
            if request.temperature == 0:
                seen.append((self._version, request.n))
                answer = [completion(self._tokenizer.encode(" #### 3"), version=self._version)]
                self._done = self._done.plus(len(request.token_ids), answer)
                return answer
            return await super().generate(request)

    paths = run_loop(tmp_path / "run", settings, Watched(digit_model))
    records = lines(paths.trace, "eval")
    assert [(r["version"], r["problems"], r["accuracy"]) for r in records] == [(v, 5, 0.2) for v in (0, 2, 4)]
    assert seen == [(version, 1) for version in (0, 2, 4) for _ in range(5)]
    assert violations(paths.trace, settings) == []
    spans = [span for span in lines(paths.trace, "span") if span["lane"] == "engine"]
    assert "held_out" in {span["name"] for span in spans}
    idle = sum(span["end_s"] - span["start_s"] for span in spans if span["name"].startswith("idle:"))
    by_steps = sum(record["engine_idle_s"] for record in lines(paths.trace, "step"))
    after = sum(span["end_s"] - span["start_s"] for span in spans if span["name"] == "idle:end")
    assert by_steps == pytest.approx(idle - after, abs=0.05)


def test_a_reward_that_always_raises_ends_the_run_with_its_own_words(
    tmp_path, config, digit_model, digit_problems, monkeypatch
):
    (tmp_path / "broken_reward.py").write_text(
        "def reward(completion, answer, row):\n    raise KeyError('no such column')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    task = {"name": "gsm8k", "path": str(digit_problems), "reward": "broken_reward:reward"}
    with pytest.raises(
        TrainingError, match=r"20 groups in a row failed; .*broken_reward:reward raised KeyError"
    ):
        run_loop(tmp_path / "run", config(task=task), LocalEngine(digit_model))
    assert_every_dispatch_has_one_fate(tmp_path / "run")
    assert {r["fate"] for r in lines(tmp_path / "run" / "trace.jsonl", "group")} <= {
        "failed",
        "leftover",
        "aborted",
    }
    assert len(lines(tmp_path / "run" / "trace.jsonl", "warning")) >= 20


def test_a_reward_that_does_not_return_costs_its_group_and_not_the_run(
    tmp_path, config, digit_model, digit_problems, monkeypatch
):
    (tmp_path / "slow_reward.py").write_text(
        "import time\n"
        "def reward(completion, answer, row):\n"
        "    if answer.endswith('3'):\n"
        "        time.sleep(60)\n"
        "    return float('4' in completion or '5' in completion)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    task = {
        "name": "gsm8k",
        "path": str(digit_problems),
        "reward": "slow_reward:reward",
        "reward_timeout_s": 0.3,
    }
    settings = config(task=task, max_steps=6, max_staleness=1)
    paths = run_loop(tmp_path / "run", settings, LocalEngine(digit_model))
    assert violations(paths.trace, settings) == []
    failed = [r for r in lines(paths.trace, "group") if r["fate"] == "failed"]
    assert failed
    assert all(int(r["prompt_id"].split("-")[1]) % 10 == 3 for r in failed)
    assert "task.reward_timeout_s = 0.3 s" in lines(paths.trace, "warning")[0]["message"]
    assert sum(r["failed_groups"] for r in lines(paths.trace, "step")) == len(failed)


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
