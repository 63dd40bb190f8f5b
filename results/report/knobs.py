"""Which settings vary in a sweep, which all its runs share, and how two runs differ."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from results.report.cells import counted, value_text

Flat = Mapping[str, Any]
"""A run's configuration by dotted keys: `optim.lr`."""

FOUR_KNOBS = ("max_staleness", "prompts_per_optim_step", "prompts_per_rollout_sync", "optim.lr")
"""Shown of every sweep, whether they vary or not."""
SHORT_NAMES = {
    "max_staleness": "Stale-\nness",
    "prompts_per_optim_step": "Optim\nstep",
    "prompts_per_rollout_sync": "Sync",
    "optim.lr": "LR",
    "optim.warmup_steps": "Warm-\nup",
    "loss.name": "Loss",
    "completions_per_prompt": "Compl./\nprompt",
    "seed": "Seed",
    "model": "Model",
    "task.name": "Task",
}
"""Heads of narrow columns; another key is its own last part."""
_SHOWN_OF_ALL = (
    *("model", "task.name", "max_steps", "completions_per_prompt", "staleness_policy", "in_flight"),
    *("prompts_per_forward_backward", "prompts_per_reference_sync", "updates_per_batch"),
    *("sampling.temperature", "sampling.max_completion_tokens", "loss.name", "loss.clip", "loss.beta"),
    *("correction.name", "optim.lr", "optim.warmup_steps", "optim.weight_decay"),
    *("learner.compute_dtype", "engine.dtype", "lora.rank", "seed"),
)


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """`{"optim": {"lr": 1}}` as `{"optim.lr": 1}`; a synchronisation that is left open is every step."""
    flat = dict(_leaves(tree, ""))
    if flat.get("prompts_per_rollout_sync") is None and "prompts_per_optim_step" in flat:
        flat["prompts_per_rollout_sync"] = flat["prompts_per_optim_step"]
    if isinstance(flat.get("task"), str):
        flat["task.name"] = flat.pop("task")
    return flat


def _leaves(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def short_name(key: str) -> str:
    """The head of a column on one line: `Optim step`."""
    return SHORT_NAMES.get(key, key.rpartition(".")[2]).replace("-\n", "").replace("\n", " ")


def varying_keys(configurations: Sequence[Flat]) -> list[str]:
    """Keys with more than one value, in the configuration's order.

    A key that some configurations do not give says nothing about those: they were made elsewhere, or have
    not been written in full yet.
    """
    first: dict[str, Any] = {}
    varying: dict[str, None] = {}
    for flat in configurations:
        for key, value in flat.items():
            if first.setdefault(key, value) != value:
                varying[key] = None
    return [key for key in first if key in varying]


def differing_keys(one: Flat, other: Flat, varying: Sequence[str]) -> list[str]:
    """Of the keys that vary those that both give, with unlike values; the seed is no setting."""
    return [
        key for key in varying if key != "seed" and key in one and key in other and one[key] != other[key]
    ]


def objective(configurations: Sequence[Flat], varying: Sequence[str]) -> str:
    """One sentence: what the sweep varies and what it holds fixed.

    Args:
        configurations: of its runs.
        varying: `varying_keys` of them.
    """
    varied = [key for key in varying if key != "seed"]
    seeds = {flat["seed"] for flat in configurations if "seed" in flat}
    runs = counted(len(configurations), "run")
    if not varied:
        what = f"To train one setting of asynchronous GRPO in {runs}"
    else:
        spread = [f"`{key}` ({_spread(configurations, key)})" for key in varied]
        what = f"To measure how training speed and accuracy change with {_listed(spread)}, in {runs}"
    over = f" over {len(seeds)} seeds" if len(seeds) > 1 else " with one seed" if seeds else ""
    return f"{what}{over}; all other settings known of the runs are the same."


def shared_settings(configurations: Sequence[Flat], varying: Sequence[str]) -> list[tuple[str, str]]:
    """Keys and values that all runs share, of those a reader asks for first and that are set."""
    found = []
    for key in _SHOWN_OF_ALL:
        value = next((flat[key] for flat in configurations if key in flat), None)
        if value is not None and key not in varying:
            found.append((key, value_text(value)))
    return found


def _spread(configurations: Sequence[Flat], key: str) -> str:
    """The values of a key: all where they are few, else how many and the ends."""
    values = list({repr(flat[key]): flat[key] for flat in configurations if key in flat}.values())
    if len(values) <= 4:
        return ", ".join(map(value_text, values))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return f"{len(values)} values from {value_text(min(values))} to {value_text(max(values))}"
    return f"{len(values)} values"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
