"""The results of two runs side by side; every figure and test is one of `results`."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepctl.commands.up_to_date import bring_up_to_date

if TYPE_CHECKING:
    from results.store import Store

RunKey = tuple[str, str]
"""A sweep's and a run's name."""
NONE = "–"
_OPPOSITE = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Figure:
    """One number of each run; `low` and `high` are the 95 % interval of the second over the first."""

    name: str
    first: float | None
    second: float | None
    low: float | None = None
    high: float | None = None

    def texts(self) -> tuple[str, ...]:
        """First, second, difference, ratio."""
        if self.first is None or self.second is None:
            return _number(self.first), _number(self.second), NONE, NONE
        ratio = f"{self.second / self.first:.2f}x" if self.first else NONE
        interval = "" if self.low is None else f" [{self.low:.2f}–{self.high:.2f}]"
        difference = self.second - self.first
        return _number(self.first), _number(self.second), _number(difference, "+"), ratio + interval


@dataclass(frozen=True)
class AccuracyRow:
    """One task, number of shots and filter, in per cent; the difference is (second - first) in points."""

    name: str
    first: float | None
    second: float | None
    delta_points: float | None
    low: float | None = None
    high: float | None = None
    verdict: str | None = None
    """Of the second run against the first, adjusted within its sweep; None: not tested there."""

    def texts(self) -> tuple[str, ...]:
        """First, second, difference, interval, verdict."""
        values = (NONE if value is None else f"{value:.2f}" for value in (self.first, self.second))
        delta = NONE if self.delta_points is None else f"{self.delta_points:+.2f}"
        interval = NONE if self.low is None else f"[{self.low:+.1f}, {self.high:+.1f}]"
        return *values, delta, interval, self.verdict or NONE


@dataclass(frozen=True)
class Results:
    """What came of both runs, and what a reader must know about the numbers."""

    figures: list[Figure]
    accuracy: list[AccuracyRow]
    notes: list[str]

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "results": [asdict(figure) for figure in self.figures],
            "accuracy": [asdict(row) for row in self.accuracy],
            "notes": self.notes,
        }


def compare_results(runs_dir: Path, first: RunKey, second: RunKey) -> Results:
    """Both runs' figures and accuracies, from a store that is brought up to date first."""
    from results.store import Store  # noqa: PLC0415 - duckdb is slow to import

    bring_up_to_date(runs_dir)
    store = Store(runs_dir)
    figures = [
        figure
        for figure in _figures(store, first, second)
        if figure.first is not None or figure.second is not None
    ]
    accuracy = _accuracy(store, first, second)
    return Results(figures, accuracy, list(_notes(store, first, second, figures, accuracy)))


def _figures(store: "Store", first: RunKey, second: RunKey) -> Iterator[Figure]:
    import numpy as np  # noqa: PLC0415 - slow to import

    from results.statistics.rates import log_rate, rate_ratio  # noqa: PLC0415

    a, b = _summary(store, first), _summary(store, second)
    cycles = [
        store.query("SELECT * FROM sync_cycles WHERE sweep = ? AND run_name = ? ORDER BY cycle", list(key))
        for key in (first, second)
    ]
    seconds = [_known(np.divide(part["wall_s"].sum(), part["steps"].sum() or np.nan)) for part in cycles]
    yield Figure("step, s", seconds[0], seconds[1])
    rates = [
        log_rate(part["prompts"].to_numpy(np.float64), part["wall_s"].to_numpy(np.float64)) for part in cycles
    ]
    ratio = rate_ratio(rates[1], rates[0])
    values = [_known(np.exp(rate.value)) for rate in rates]
    yield Figure("prompts/s", values[0], values[1], low=_known(ratio.low), high=_known(ratio.high))
    for name, column in (
        ("published step, s", "published_step_s"),
        ("published training, s", "published_training_s"),
        ("steps", "steps_known"),
        ("reward, last fifth", "reward_last_fifth"),
        ("truncated, share", "truncated_fraction"),
        ("held-out accuracy, last", "held_out"),
    ):
        yield Figure(name, _known(a[column]), _known(b[column]))


def _summary(store: "Store", key: RunKey) -> dict[str, Any]:
    from results.store import records  # noqa: PLC0415

    found = store.query(
        # Steps of a run that succeeded and left no trace are not 0: it was made elsewhere.
        "SELECT r.*, p.step_mean_s AS published_step_s, p.training_time_s AS published_training_s, "
        "CASE WHEN steps_done > 0 OR state <> 'succeeded' THEN steps_done END AS steps_known, "
        "(SELECT arg_max(accuracy, version) FROM held_out_evals AS h "
        "WHERE h.sweep = r.sweep AND h.run_name = r.run_name) AS held_out "
        "FROM run_summary AS r LEFT JOIN published_runs AS p USING (sweep, run_name) "
        "WHERE sweep = ? AND run_name = ?",
        list(key),
    )
    return records(found)[0]


def _accuracy(store: "Store", first: RunKey, second: RunKey) -> list[AccuracyRow]:
    """One row for each task, number of shots, metric and filter that either run was evaluated with."""
    values: dict[tuple[Any, ...], list[float | None]] = {}
    for place, key in enumerate((first, second)):
        found = store.query(
            "SELECT task, num_fewshot, metric, filter, value_percent FROM accuracy "
            "WHERE sweep = ? AND run_name = ? AND latest ORDER BY ALL",
            list(key),
        )
        for *setting, value in found.itertuples(index=False, name=None):
            values.setdefault(tuple(setting), [None, None])[place] = value
    tested = _tests(store, first, second)
    return [_row(setting, pair, tested.get(setting)) for setting, pair in sorted(values.items())]


def _row(setting: tuple[Any, ...], pair: list[float | None], test: dict[str, Any] | None) -> AccuracyRow:
    task, shots, metric, filter_name = setting
    kind = filter_name if metric == "exact_match" else f"{metric}, {filter_name}"
    a, b = pair
    delta = None if a is None or b is None else b - a
    return AccuracyRow(f"{task}, {shots}-shot, {kind}", a, b, delta, **(test or {}))


def _tests(store: "Store", first: RunKey, second: RunKey) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Intervals and verdicts of the second against the first, where their sweep compares the two."""
    from results.store import records  # noqa: PLC0415
    from results.tables.accuracy import delta_table  # noqa: PLC0415 - scipy is slow to import

    if first[0] != second[0]:
        return {}
    margin = store.query("SELECT margin FROM sweeps WHERE sweep = ?", [first[0]])["margin"].iloc[0]
    names, tests = (first[1], second[1]), {}
    for row in records(delta_table(store, first[0], float(margin))):
        if (row["other_run"], row["run_name"]) not in {names, names[::-1]}:
            continue
        low, high, verdict = _known(row["low"]), _known(row["high"]), str(row["verdict"])
        if row["run_name"] == first[1] and low is not None and high is not None:
            low, high, verdict = -high, -low, _OPPOSITE.get(verdict, verdict)
        setting = (row["task"], row["num_fewshot"], row["metric"], row["filter"])
        tests[setting] = {"low": low, "high": high, "verdict": verdict}
    return tests


def _notes(
    store: "Store", first: RunKey, second: RunKey, figures: list[Figure], accuracy: list[AccuracyRow]
) -> Iterator[str]:
    if any(figure.name == "prompts/s" for figure in figures):
        yield (
            "Step time and prompts/s are over whole sync cycles after the first; brackets: 95 % interval, "
            "within these runs."
        )
    if any(figure.name.startswith("published") for figure in figures):
        yield "Published figures were made elsewhere, and nothing here can check them."
    batches = [_known(_summary(store, key)["prompts_per_optim_step"]) for key in (first, second)]
    if None not in batches and batches[0] != batches[1]:
        yield "The step times are not comparable: a step of each trains another number of prompts."
    if any(row.verdict for row in accuracy):
        yield "Verdicts are adjusted for all comparisons of the sweep's report; the intervals are not."
    elif any(row.delta_points is not None for row in accuracy):
        yield "The accuracies are not tested: neither run is the other's baseline or reference in one sweep."


def _known(value: Any) -> float | None:  # noqa: ANN401 - a cell of any type
    import pandas as pd  # noqa: PLC0415 - slow to import

    return None if pd.isna(value) else float(value)


def _number(value: float | None, sign: str = "") -> str:
    if value is None:
        return NONE
    return f"{value:{sign}.0f}" if float(value).is_integer() else f"{value:{sign}.4g}"
