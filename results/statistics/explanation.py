"""Why some steps are slower: the position in the sync cycle, or another quantity on record.

The sync cycle explains step times only where a permutation test says that positions matter and most of the
variance lies between them. Why a position is slow is said only where the records carry it: the part of the
step that holds the gap, and for a wait, that the schedule forbids to dispatch its groups before the sync.
Otherwise modes are compared with what else is on record of a step. One test covers all quantities looked
at: the largest correlation, against the largest under permutation (Westfall & Young 1993).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from results.statistics.positions import held_back_positions, position_share, position_test, split_positions
from results.statistics.sequential import LEVEL, sequential_p
from results.statistics.wording import listed, ordinal, seconds_text
from trainer.schedule import Schedule

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PARTS = ("wait_s", "drain_s", "learn_s", "sync_s", "checkpoint_s", "other_s")
QUANTITIES = {
    "filtered_groups": "filtered groups",
    "evicted_groups": "evicted groups",
    "aborted_groups": "aborted groups",
    "failed_groups": "failed groups",
    "checkpoint_s": "a checkpoint",
    "completion_tokens": "more completion tokens than the median step",
}
"""What modes are compared with: columns of table `steps`, and what a step with much of it has."""
_MOST = 0.5
"""A share of the variance, or of a gap, that is most of it."""
_BLOCK = 10
"""Consecutive steps within which modes are permuted: slow drifts of both explain nothing."""


@dataclass(frozen=True)
class Explanation:
    """What goes with the differences between steps."""

    position_p: float
    """Of `results.statistics.positions.position_test`."""
    explained_by: str | None
    """`position`, or a key of QUANTITIES."""
    sentence: str
    """Empty where there is nothing to say."""


def explain(
    warm: pd.DataFrame, kinds: IntArray, interval: int, schedule: Schedule | None, rng: np.random.Generator
) -> Explanation:
    """What explains a run's step times.

    Args:
        warm: columns of table `steps`, one run, by step, without the first sync cycle.
        kinds: each step's mode, 0 the fastest; all 0 where there is one mode.
        interval: k.
        schedule: of the run, if known.
        rng: of the permutations.
    """
    steps = warm["step"].to_numpy(np.int64)
    logs = np.log(np.maximum(warm["wall_s"].to_numpy(np.float64), 1e-9))
    p = position_test(steps, logs, interval, rng)
    share = position_share(steps % interval, logs) if p < LEVEL else 0.0
    if share >= _MOST:
        return Explanation(p, "position", _position_sentence(warm, steps % interval, interval, schedule, p))
    if kinds.max() == 0:
        return Explanation(p, None, _minor_position(p, share, interval) if p < LEVEL else "")
    if p < LEVEL:
        about = _minor_position(p, share, interval)
    elif interval > 1:
        about = f"The position in the sync cycle does not explain them ({_p(p)})."
    else:
        about = ""
    column, other = _recorded(warm, kinds, rng)
    return Explanation(p, column, f"{about} {other}".lstrip())


def _position_sentence(
    warm: pd.DataFrame, positions: IntArray, interval: int, schedule: Schedule | None, p: float
) -> str:
    """Which positions of the cycle are slow, in which part of the step the time goes, and why."""
    split = split_positions(positions, warm["wall_s"].to_numpy(np.float64))
    slow = np.isin(positions, split.slow)
    part, gap = _largest_part(warm, slow)
    means = [float(warm.loc[mask, "wall_s"].mean()) for mask in (slow, ~slow)]
    where = f"{seconds_text(means[0])} s against {seconds_text(means[1])} s ({_p(p)})"
    if part is None:
        return f"{_subject(split.slow, interval, 'takes')} {where}; what it spends them on is not recorded."
    share = f"{part.removesuffix('_s')} alone differs by {seconds_text(gap)} s"
    held_back = held_back_positions(schedule) if schedule is not None else ()
    if part == "wait_s" and gap >= _MOST * (means[0] - means[1]) and set(split.slow) <= set(held_back):
        waits = float(warm.loc[slow, "wait_s"].mean())
        return (
            f"{_subject(split.slow, interval, 'waits')} {seconds_text(waits)} s for groups that could not be "
            f"dispatched before the sync: {where}; {share}."
        )
    return f"{_subject(split.slow, interval, 'takes')} {where}; {share}."


def _subject(slow: tuple[int, ...], interval: int, verb: str) -> str:
    """The slow positions and what they do: `Every 2nd step, the 1st after a sync, waits`."""
    places = listed([ordinal(position + 1) for position in slow])
    if len(slow) == 1:
        return f"Every {ordinal(interval)} step, the {places} after a sync, {verb}"
    return f"Of every {interval} steps, the {places} after a sync each {verb.removesuffix('s')}"


def _largest_part(warm: pd.DataFrame, slow: npt.NDArray[np.bool_]) -> tuple[str | None, float]:
    """The part of a step that slow steps have most more of, and how many seconds; None if not recorded."""
    parts = [part for part in PARTS if part in warm]
    values = warm[parts].to_numpy(np.float64)
    gaps = values[slow].mean(axis=0) - values[~slow].mean(axis=0)
    if np.isnan(gaps).all():
        return None, float("nan")
    largest = int(np.nanargmax(gaps))
    return parts[largest], float(gaps[largest])


def _minor_position(p: float, share: float, interval: int) -> str:
    return (
        f"The position among the {interval} steps of a sync cycle matters ({_p(p)}) but accounts for "
        f"only {share:.0%} of the variance."
    )


def _recorded(warm: pd.DataFrame, kinds: IntArray, rng: np.random.Generator) -> tuple[str | None, str]:
    """The recorded quantity that goes with the modes, and the sentence that says so."""
    slow = kinds > 0
    part, gap = _largest_part(warm, slow)
    carried = ""
    if part is not None:
        carried = (
            f"Of the {seconds_text(_gap(warm, slow))} s between the fastest mode and the rest, "
            f"{part.removesuffix('_s')} is {seconds_text(gap)} s. "
        )
    values = _varying(warm)
    if not values:
        return None, f"{carried}None of the quantities on record that might explain them varies."
    p, column = _association(np.stack([*values.values()]), kinds, rng)
    name = list(values)[column]
    looked_at = listed([shown.removesuffix("_s").replace("_", " ") for shown in values])
    if not p < LEVEL:
        return None, f"{carried}Nothing on record is shown to go with them; looked at: {looked_at} ({_p(p)})."
    much = values[name] > (np.median(values[name]) if name == "completion_tokens" else 0)
    return name, (
        f"{carried}{np.count_nonzero(much & slow)} of the {np.count_nonzero(slow)} slower steps have "
        f"{QUANTITIES[name]}, of the {np.count_nonzero(~slow)} fastest {np.count_nonzero(much & ~slow)} "
        f"({_p(p)}; looked at: {looked_at})."
    )


def _gap(warm: pd.DataFrame, slow: npt.NDArray[np.bool_]) -> float:
    return float(warm.loc[slow, "wall_s"].mean() - warm.loc[~slow, "wall_s"].mean())


def _varying(warm: pd.DataFrame) -> dict[str, FloatArray]:
    """The quantities that are known of every step and differ between them."""
    known = [name for name in QUANTITIES if name in warm and warm[name].notna().all()]
    values = {name: warm[name].to_numpy(np.float64) for name in known}
    return {name: each for name, each in values.items() if np.ptp(each) > 0}


def _association(values: FloatArray, kinds: IntArray, rng: np.random.Generator) -> tuple[float, int]:
    """p-value that none of the quantities goes with the modes, and the one that does most.

    Ranks are taken less their block's mean, so that only differences between near steps count.

    Args:
        values: (quantities, steps), none constant.
        kinds: (steps,).
        rng: of the permutations.
    """
    count = len(kinds)
    blocks = np.arange(count) * max(count // _BLOCK, 1) // count
    sizes = np.bincount(blocks)
    ranks = pd.DataFrame(values).rank(axis=1).to_numpy()
    ranks = ranks - (np.stack([np.bincount(blocks, row) for row in ranks]) / sizes)[:, blocks]
    norms = np.linalg.norm(ranks, axis=1)
    ranks /= np.where(norms > 0, norms, 1.0)[:, None]
    observed = np.abs(ranks @ kinds)
    least = observed.max() - 1e-9  # equal but for rounding counts as equal, at zero too

    def as_extreme(samples: int) -> npt.NDArray[np.bool_]:
        order = np.argsort(blocks + rng.random((samples, count)), axis=1)
        return np.asarray(np.abs(kinds[order] @ ranks.T).max(axis=1) >= least)

    return sequential_p(as_extreme), int(observed.argmax())


def _p(p: float) -> str:
    return f"permutation p = {p:.2g}"
