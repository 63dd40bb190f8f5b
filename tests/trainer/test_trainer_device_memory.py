"""Memory of a GPU, counted on CPU: against what torch holds there, and advice against its own arithmetic."""

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from learner_factory import ARCHITECTURES, learner_for, random_groups, random_model, write_model
from peft import LoraConfig, inject_adapter_in_model
from transformers import AutoConfig, AutoModelForCausalLM, MambaConfig, Qwen3Config
from transformers.modeling_layers import GradientCheckpointingLayer

from trainer import logprobs
from trainer.config import Resources, RunConfig, RunFile
from trainer.device_fit import fitted, model_shape
from trainer.device_memory import (
    GIB,
    LOGITS_BYTES,
    RESERVE_BYTES,
    Device,
    ModelShape,
    activation_bytes,
    least_engine_bytes,
    split,
)
from trainer.errors import ConfigError
from trainer.loop import Loop
from trainer.memory_advice import remedies, require_fit

SWEEP = yaml.safe_load((Path(__file__).parents[2] / "sweeps" / "staleness.yaml").read_text())
SHIPPED = RunConfig.model_validate({**SWEEP["base"], **SWEEP["profiles"]["gpu"]["base"]})
QWEN3 = ModelShape(
    parameters=1_720_574_976,  # as its card has it, tied weights once
    largest=151_936 * 2048,
    # Rank 1 in each layer: in + out of q, o; k, v; gate, up, down.
    adapter_parameters=28 * (2 * (2048 + 2048) + 2 * (2048 + 1024) + 3 * (2048 + 6144)),
    layers=28,
    hidden=2048,
    query=2048,
    key=1024,
    mlp=6144,
    vocabulary=151_936,
)


def changed(config, **sections):
    """The configuration with some keys of some sections set, checked again."""
    fields = config.model_dump()
    for name, keys in sections.items():
        fields[name] |= keys
    return RunConfig.model_validate(fields)


def gib(size):
    return Device(round(size * GIB))


def test_the_reference_model_is_counted_from_its_configuration(tmp_path):
    Qwen3Config(
        vocab_size=151_936,
        hidden_size=2048,
        intermediate_size=6144,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
        architectures=["Qwen3ForCausalLM"],
    ).save_pretrained(tmp_path)
    assert model_shape(SHIPPED.model_copy(update={"model": str(tmp_path)})) == QWEN3


def test_an_h200_holds_the_shipped_profile_with_all_activations():
    found = require_fit(QWEN3, SHIPPED, gib(139.8), "ipc")
    assert not found.recompute
    assert found.engine == round(0.4 * found.device.total_bytes)
    assert found.held["weights"] == 4 * 1_720_574_976
    assert found.held["AdamW's two moments"] == 8 * 1_720_574_976
    assert found.held["weights for the engine"] == 2 * 1_720_574_976


def test_80_gib_hold_it_with_activations_recomputed_and_only_then():
    assert require_fit(QWEN3, SHIPPED, gib(79.1), "ipc").recompute
    assert (
        split(QWEN3, changed(SHIPPED, learner={"gradient_checkpointing": False}), gib(79.1), "ipc").left < 0
    )


def test_24_gib_are_too_small_and_the_way_out_is_one():
    with pytest.raises(
        ConfigError, match=r"learner and engine need 5\d\.\d GiB on cuda:0, which has 24\.0"
    ) as e:
        require_fit(QWEN3, SHIPPED, gib(24), "ipc", "cuda:0")
    message = str(e.value)
    assert "train adapters with lora.rank: 16 (another run) and give the engine a GPU of its own" in message
    assert "AdamW's two moments" in message
    [remedy] = remedies(QWEN3, SHIPPED, gib(24), "ipc")
    assert require_fit(QWEN3, remedy.applied(SHIPPED), gib(24), "nccl").left >= 0


def test_a_message_names_every_key_that_helps_by_itself():
    config = changed(SHIPPED, learner={"gradient_checkpointing": False})
    with pytest.raises(ConfigError) as caught:
        require_fit(QWEN3, config, gib(79.1), "ipc")
    message = str(caught.value)
    for advice in (
        "lower engine.memory_utilization to 0.13 at most",
        "set learner.gradient_checkpointing: true",
        "lower learner.tokens_per_micro_batch to 2048",
        "give the engine a GPU of its own",
        "the engine needs about 8.9 GiB, 0.11 of this GPU",
    ):
        assert advice in message
    assert "lora.rank" not in message  # which would make it another run


def test_what_nothing_helps_says_so():
    with pytest.raises(ConfigError, match="Take a larger GPU or a smaller model"):
        require_fit(QWEN3, SHIPPED, gib(8), "ipc")


def test_of_adapters_a_sync_can_take_more_than_a_step_and_by_nccl_most():
    """Two chunks are on their way, each as large as what fits plus the tensor that filled it up."""
    small = {"gradient_checkpointing": True, "tokens_per_micro_batch": 1, "compute_dtype": "float32"}
    config = changed(SHIPPED, lora={"rank": 8}, learner=small)
    found = split(QWEN3, config, gib(80), "nccl")
    assert found.peak == "in a sync"
    buffers = 2 * (2**28 + 2 * 151_936 * 2048)
    assert found.working == {"merged weights": 2 * QWEN3.parameters, "NCCL's buffers": buffers}


def test_memory_of_other_processes_is_not_there():
    room = split(QWEN3, SHIPPED, gib(139.8), "nccl").left
    full = Device(gib(139.8).total_bytes, others_bytes=room + 1)
    assert split(QWEN3, SHIPPED, full, "nccl").recompute
    assert "other processes" in split(QWEN3, SHIPPED, full, "nccl").table()


POWERS = st.integers(0, 6).map(lambda n: 2**n)


@st.composite
def too_small(draw):
    """A model, a configuration, a GPU that is too small for them, and how weights travel."""
    layers, hidden, mlp = draw(POWERS), 64 * draw(POWERS), 64 * draw(POWERS)
    key = 64 * draw(st.integers(1, 8))
    vocabulary = 1000 * draw(st.integers(1, 200))
    shape = ModelShape(
        parameters=vocabulary * hidden + layers * hidden * (4 * hidden + 3 * mlp),
        largest=vocabulary * hidden,
        adapter_parameters=layers * (6 * hidden + 3 * mlp),
        layers=layers,
        hidden=hidden,
        query=key * draw(st.integers(1, 4)),
        key=key,
        mlp=mlp,
        vocabulary=vocabulary,
    )
    config = RunConfig.model_validate(
        {
            "loss": {"beta": draw(st.sampled_from([0.0, 0.1]))},
            "lora": {"rank": draw(st.sampled_from([0, 1, 8, 32]))},
            "learner": {
                "compute_dtype": draw(st.sampled_from(["bfloat16", "float32"])),
                "gradient_checkpointing": draw(st.sampled_from(["auto", True, False])),
                "tokens_per_micro_batch": draw(st.integers(1, 65_536)),
            },
            "engine": {
                "memory_utilization": draw(st.floats(0.05, 0.95)),
                "max_model_len": draw(st.integers(128, 4096)),
            },
        }
    )
    way = draw(st.sampled_from(["file", "ipc", "nccl"]))
    others = draw(st.integers(0, 2 * GIB))
    wanted = config.learner.gradient_checkpointing
    needs = [
        split(shape, changed(config, learner={"gradient_checkpointing": choice}), Device(0), way).learner
        for choice in ([True, False] if wanted == "auto" else [wanted])
    ]
    engine = config.engine.memory_utilization if way == "ipc" else 0
    enough = (min(needs) + others + RESERVE_BYTES) / (1 - engine)
    device = Device(int(draw(st.floats(0.1, 0.999)) * enough), others)
    assert split(shape, config, device, way).left < 0
    return shape, config, device, way


@settings(max_examples=300, deadline=None)
@given(too_small())
def test_whoever_follows_an_advice_gets_through(case):
    shape, config, device, way = case
    for remedy in remedies(shape, config, device, way):
        after = RunConfig.model_validate(remedy.applied(config).model_dump())
        found = require_fit(shape, after, device, "nccl" if remedy.own_device else way)
        if "engine.memory_utilization" in remedy.changes:
            assert after.engine.memory_utilization < config.engine.memory_utilization
            assert found.engine >= least_engine_bytes(shape, after)
        if "lora.rank" not in remedy.changes:
            assert after.run_id() == config.run_id()


@settings(max_examples=300, deadline=None)
@given(too_small())
def test_without_an_advice_not_even_all_of_them_together_are_enough(case):
    shape, config, device, way = case
    if remedies(shape, config, device, way):
        return
    least_share = least_engine_bytes(shape, config) / device.total_bytes
    rank = config.lora.rank
    for fewest in {rank, 1 if rank else 16}:
        least = changed(
            config,
            learner={"gradient_checkpointing": True, "tokens_per_micro_batch": 1},
            lora={"rank": fewest},
        )
        if way == "ipc":
            assert split(shape, least, device, "nccl").left < 0
            if least_share <= 0.99:
                shared = changed(least, engine={"memory_utilization": least_share + 0.01})
                assert split(shape, shared, device, "ipc").left < 0
        else:
            assert split(shape, least, device, way).left < 0


@settings(max_examples=100, deadline=None)
@given(too_small())
def test_the_share_that_is_advised_is_the_largest_of_two_digits(case):
    shape, config, device, way = case
    for remedy in remedies(shape, config, device, way):
        if remedy.changes.keys() == {"engine.memory_utilization"}:
            more = remedy.changes["engine.memory_utilization"] + 0.01
            assert split(shape, changed(config, engine={"memory_utilization": more}), device, way).left < 0


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "qwen3_moe"])
def test_parameters_are_those_of_the_model_and_its_adapters(config, tiny_model, tmp_path, name):
    folder = write_model(name, tmp_path, tiny_model)
    shape = model_shape(config(model=str(folder)))
    model = random_model(name)
    sizes = [p.numel() for p in model.parameters()]
    assert (shape.parameters, shape.largest) == (sum(sizes), max(sizes))
    inject_adapter_in_model(LoraConfig(r=4, target_modules="all-linear"), model, "default")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert model_shape(config(model=str(folder), lora={"rank": 4})).adapter_parameters * 4 == trained
    assert shape.adapter_parameters * 4 == trained


def test_widths_are_those_of_the_architecture(config, tiny_model, tmp_path):
    def widths(name):
        shape = model_shape(config(model=str(write_model(name, tmp_path / name, tiny_model))))
        return shape.layers, shape.hidden, shape.query, shape.key, shape.mlp, shape.vocabulary

    assert widths("llama") == (2, 32, 32, 16, 64, 512)
    assert widths("gpt2") == (2, 32, 32, 32, 128, 512)
    assert widths("qwen3_moe") == (2, 32, 32, 16, 2 * 16, 512)  # two experts a token


@pytest.mark.parametrize("rank", [0, 4])
def test_what_the_learner_holds_is_what_was_counted(config, rank):
    setup = config(lora={"rank": rank}, loss={"beta": 0.1})
    found = split(model_shape(setup), setup, gib(100), "ipc")
    learner = learner_for(config, lora={"rank": rank}, loss={"beta": 0.1})
    learner.forward_backward(random_groups())
    gradients = sum(p.grad.nbytes for p in learner.model.parameters() if p.grad is not None)
    learner.optimizer_step()
    moments = learner.state_dict()["optimizer"]["state"].values()
    learner.refresh_reference()
    assert found.held == {
        "weights": sum(p.nbytes for p in learner.model.parameters()),
        "AdamW's two moments": sum(s["exp_avg"].nbytes + s["exp_avg_sq"].nbytes for s in moments),
        "reference": sum(t.nbytes for t in learner.state_dict()["reference"].values()),
        "weights for the engine": sum(t.nbytes for t in learner.weights(torch.bfloat16).values()),
    }
    assert found.peak == "in a step"
    assert found.working["gradients"] == gradients


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("in_bfloat16", [False, True])
@pytest.mark.parametrize("name", ["qwen3", "llama", "mistral"])
def test_activations_are_about_what_autograd_keeps(name, in_bfloat16, recompute):
    fields = {**ARCHITECTURES["llama"], "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 8}
    fields |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **fields), attn_implementation="sdpa")
    model.eval()
    shape = ModelShape(0, 0, 0, layers=8, hidden=128, query=128, key=64, mlp=384, vocabulary=512)
    if recompute:
        model.gradient_checkpointing_enable()
        for module in model.modules():
            if isinstance(module, GradientCheckpointingLayer):
                module.training = True
    weights = {p.shape for p in model.parameters()} | {p.T.shape for p in model.parameters() if p.ndim == 2}
    kept = {}

    def keep(tensor):
        if tensor.shape not in weights:  # and casts of them
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    autocast = torch.autocast("cpu", dtype=torch.bfloat16) if in_bfloat16 else nullcontext()
    with autocast, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.get_decoder()(input_ids=torch.randint(512, (3, 100)), use_cache=False)
    found = sum(storage.nbytes() for storage in kept.values())
    estimate = activation_bytes(shape, 300, in_bfloat16=in_bfloat16, recompute=recompute)
    if recompute:  # the layer that is computed again, and its gradients, come later
        whole = activation_bytes(shape, 300, in_bfloat16=in_bfloat16, recompute=False)
        assert found < estimate < 0.5 * whole
    else:
        assert found < estimate < 1.4 * found


def test_one_part_of_the_logits_is_as_large_as_the_learner_makes_it():
    assert LOGITS_BYTES == logprobs.LOGITS_BYTES


def test_on_cpu_activations_are_kept_and_nothing_is_said(config, capsys):
    assert fitted(config(), Resources(), engine_runs=False).learner.gradient_checkpointing is False
    on = config(learner={"gradient_checkpointing": True})
    assert fitted(on, Resources(), engine_runs=False) == on
    assert capsys.readouterr().out == ""


@pytest.fixture
def gpu(monkeypatch):
    """Lets torch say that there is one GPU with so much memory."""

    def give(free_gib, total_gib):
        monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
        memory = (round(free_gib * GIB), round(total_gib * GIB))
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda _device: memory)

    return give


ON_ONE_GPU = Resources(device="cuda:0", weight_transfer="ipc")


def test_on_a_gpu_the_log_says_who_gets_how_much(config, gpu, capsys):
    gpu(80, 80)
    assert fitted(config(), ON_ONE_GPU, engine_runs=False).learner.gradient_checkpointing is False
    said = capsys.readouterr().out
    assert "memory of cuda:0, 80.0 GiB:\n" in said
    assert "  engine " in said
    assert "32.00\n" in said
    assert "learner.gradient_checkpointing: auto: activations are kept" in said


def test_activations_that_would_not_fit_are_recomputed(config, gpu, capsys, monkeypatch):
    gpu(80, 80)
    monkeypatch.setattr("trainer.device_fit.model_shape", lambda _config: QWEN3)
    assert fitted(SHIPPED, ON_ONE_GPU, engine_runs=False).learner.gradient_checkpointing is True
    assert "activations are recomputed, since they would not fit" in capsys.readouterr().out


def test_an_engine_that_runs_already_is_not_taken_for_another_process(config, gpu, capsys, monkeypatch):
    gpu(80 * 0.6 - 2, 80)
    fitted(config(), ON_ONE_GPU, engine_runs=True)
    assert "other processes" not in capsys.readouterr().out
    gpu(80 * 0.6 - 13, 80)
    fitted(config(), ON_ONE_GPU, engine_runs=True)
    assert "other processes" in capsys.readouterr().out
    monkeypatch.setattr("trainer.device_fit.model_shape", lambda _config: QWEN3)
    with pytest.raises(ConfigError, match="other processes"):
        fitted(SHIPPED, ON_ONE_GPU, engine_runs=True)


@pytest.mark.parametrize("way", ["ipc", "nccl"])
def test_what_is_in_use_before_a_run_starts_its_engine_is_all_of_others(config, gpu, capsys, way):
    gpu(80 - 20, 80)
    resources = Resources(device="cuda:0", weight_transfer=way)
    fitted(config(), resources, engine_runs=False)
    assert re.search(r"other processes +20\.00\n", capsys.readouterr().out)


def test_a_gpu_that_is_too_small_ends_the_run_before_model_and_engine(config, gpu, monkeypatch):
    gpu(5, 5)
    monkeypatch.setattr("trainer.loop.Learner", lambda *_: pytest.fail("the model was loaded"))
    file = RunFile(sweep="s", run_name="r", run_id="0" * 12, config=config(), resources=ON_ONE_GPU)
    with pytest.raises(ConfigError, match="learner and engine need"):
        Loop(file, None, None, None, lambda: pytest.fail("the engine was started"))


def test_a_model_that_cannot_be_counted_is_left_to_who_loads_it(config, gpu, capsys, tmp_path):
    gpu(80, 80)
    MambaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=512).save_pretrained(tmp_path)
    for model in (tmp_path, tmp_path / "nothing"):
        kept = fitted(config(model=str(model)), ON_ONE_GPU, engine_runs=False)
        assert kept.learner.gradient_checkpointing is False
        assert "memory of cuda:0 is not counted" in capsys.readouterr().out
