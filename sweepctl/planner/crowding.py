"""How much groups slow each other down on an engine, from when each was dispatched and ended."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Array = NDArray[np.float64]

_MOST_CROWDING = 0.99
_SHORTEST_S = 1e-9


def fit_crowding(groups: pd.DataFrame) -> float:
    """By how much every other group slows a group down, as a share of its time alone.

    A group's tokens should take the same time alone however many groups ran beside it. So it is the crowding
    under which the ends of all generations are most likely, given that the time alone is log-normal around a
    power of the tokens. The density of an end is that of the time alone, times the engine's speed at that
    moment. (Least residuals alone would find too little: without crowding, the times of groups that ran
    together seem more alike than they are.)

    Args:
        groups: with `dispatched_s, ended_s, finished_s, completion_tokens`; those that did not finish slowed
            others down until they ended, and tell nothing else.
    """
    finished = groups["finished_s"].notna().to_numpy()
    tokens = np.log(groups["completion_tokens"].to_numpy(np.float64)[finished].clip(1))
    design = np.column_stack([np.ones_like(tokens), tokens])
    engine = _Engine(groups)

    def unlikely(crowding: float) -> float:
        """Negative log-likelihood, up to a constant."""
        speed = engine.speed(crowding)
        log_s = np.log(engine.alone_s(speed)[finished].clip(_SHORTEST_S))
        coefficients, *_ = np.linalg.lstsq(design, log_s)
        residuals = log_s - design @ coefficients
        deviation = max(float(residuals.std()), _SHORTEST_S)
        log_speed = np.log(engine.at_end(speed)[finished])
        return float(len(log_s) * np.log(deviation) + log_s.sum() - log_speed.sum())

    found = minimize_scalar(unlikely, bounds=(0.0, _MOST_CROWDING), method="bounded")
    return float(found.x) if found.fun < unlikely(0.0) else 0.0


def generation_alone_s(groups: pd.DataFrame, crowding: float) -> Array:
    """Seconds that the generation of each group would have taken alone, shape [groups].

    The integral of the engine's speed, 1 / (1 + crowding (c - 1)) with c groups running, over its time.
    """
    engine = _Engine(groups)
    return engine.alone_s(engine.speed(crowding))


class _Engine:
    """How many groups ran when, between each dispatch and end of a generation and the next."""

    def __init__(self, groups: pd.DataFrame) -> None:
        begun, ended = (groups[name].to_numpy(np.float64) for name in ("dispatched_s", "ended_s"))
        at = np.concatenate([begun, ended])
        order = np.argsort(at, kind="stable")
        change = np.concatenate([np.ones(len(begun)), -np.ones(len(ended))])
        self._running = np.cumsum(change[order]).clip(1)
        self._passed = np.diff(at[order])
        self._place = np.empty(len(at), np.int64)
        self._place[order] = np.arange(len(at))

    def speed(self, crowding: float) -> Array:
        """Of each running group, as a share of that alone, from each event to the next; shape [events]."""
        return 1.0 / (1.0 + crowding * (self._running - 1.0))

    def alone_s(self, speed: Array) -> Array:
        """The integral of the speed over the time of each group."""
        virtual = np.concatenate([[0.0], np.cumsum(self._passed * speed[:-1])])[self._place]
        begun, ended = np.split(virtual, 2)
        alone_s: Array = ended - begun
        return alone_s

    def at_end(self, speed: Array) -> Array:
        """The speed just before each group's end."""
        ended = np.split(self._place, 2)[1]
        return speed[ended - 1]
