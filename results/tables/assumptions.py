"""Why a prediction was wrong: the part of a step that explains most, and what of it was assumed otherwise.

A prediction is called wrong where the mean step time is off by more than `LARGE` and chance alone, with the
costs as assumed, would hardly have led there: where it also lies outside of where chance puts 95 % of runs
with these costs. Then

    the phase   of which the difference, in the direction of the whole one, is the largest; any other that
                makes up a quarter of the whole is named with it
    the causes  of those below, which can all be measured, all that are off in that direction; the assumption
                that is said to have failed is the one of the first phase that is off the most

A cause is a ratio, measured over predicted:

    learner speed       learning time for each completion token; for each prompt where costs know no tokens
    completion length   completion tokens of a trained prompt
    groups needed       groups dispatched for each that is trained: verdicts, evictions, what is cut off
    engine speed        time from dispatch to the end of generation, over the ratio of lengths
    machine speed       where it is one of the two speeds, or syncs: both, and syncs where they count, are off
                        in the same direction by about the same factor

None of it is a test: it says which figures differ, and a step's time may have yet other reasons.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from typing import Any

from results.statistics.wording import range_text, seconds_text

LARGE = 0.1
"""An error of the mean step time from which a cause is looked for."""
_AS_PREDICTED = log(1.05)
"""So little off, a figure counts as predicted."""
_ALIKE = log(1.2)
"""Factors of which the largest is at most so many times the smallest are taken for the same."""
_PHASE_COUNTS = 0.25
"""A phase with such a share of the error is named beside the largest one."""
_SYNC_COUNTS = 0.01
"""Syncs of less than this share of a step say nothing of the machine."""

_Row = Mapping[str, Any]
_PHASES: Mapping[str, tuple[str, ...]] = {
    "waiting for groups": ("wait", "drain"),
    "learning": ("learn",),
    "syncs": ("sync",),
    "checkpoints": ("checkpoint",),
    "the rest of a step": ("other",),
}
_CAUSES: Mapping[str, tuple[str, ...]] = {
    "waiting for groups": ("groups needed", "completion length", "engine speed"),
    "learning": ("completion length", "learner speed"),
}
"""Of a phase; the others are their own cause."""
_SPEEDS = ("engine speed", "learner speed")


@dataclass(frozen=True)
class Judgement:
    """What is to be said of one prediction.

    Attributes:
        assumption: the one that failed, or the phase where no cause can be named; None: none did.
        sentence: for a reader.
    """

    assumption: str | None
    sentence: str


def judged(row: _Row) -> Judgement:
    """Judges one run's prediction.

    Args:
        row: of `results.tables.plan.plan_table`, and `prompts_per_optim_step`.
    """
    head = f"{row['label']}: predicted {_seconds(row['predicted_step_s'])} a step"
    measured = row["measured_step_s"]
    if not _known(measured):
        return Judgement(None, f"{head}; nothing is measured yet.")
    if row["state"] != "succeeded":
        planned = f" of {row['max_steps']:.0f}" if _known(row["max_steps"]) else ""
        return Judgement(
            None,
            f"{head}; {_seconds(measured)} in the {row['steps_done']:.0f}{planned} steps that are done, "
            "which is not judged before all are.",
        )
    error, low, high = row["step_error"], row["step_low_s"], row["step_high_s"]
    head += f", measured {_seconds(measured)} ({error:+.1%})"
    spread = f"{range_text(low, high)} s, where chance alone puts 95 % of runs with these costs"
    if low <= measured <= high:
        return Judgement(None, f"{head}: within {spread}.")
    if abs(error) <= LARGE:
        outside = f"outside {spread}; " if low < high else ""
        return Judgement(None, f"{head}: {outside}no cause is looked for of an error below {LARGE:.0%}.")
    return _explained(row, head)


def _explained(row: _Row, head: str) -> Judgement:
    whole_s = row["measured_step_s"] - row["predicted_step_s"]
    shares = {phase: _difference_s(row, parts) / whole_s for phase, parts in _PHASES.items()}
    phase, *others = sorted(shares, key=lambda each: -shares[each])
    phases = [phase, *(each for each in others if shares[each] >= _PHASE_COUNTS)]
    head += f"; {_phases_text(row, phases, shares)}."
    factors = _factors(row)
    direction = 1 if whole_s > 0 else -1
    causes = dict.fromkeys(cause for each in phases for cause in _CAUSES.get(each, ()))
    known = {name: direction * factors[name] for name in causes if name in factors}
    own = [name for name in _CAUSES.get(phase, ()) if name in known]
    cause = max(own, key=lambda name: known[name], default=None)
    if (cause in _SPEEDS or phase == "syncs") and (machine := _machine(row, factors)) is not None:
        return Judgement("machine speed", f"{head} {machine}")
    if cause is not None and known[cause] >= _AS_PREDICTED:
        return Judgement(cause, f"{head}{_differing(row, known)}")
    if phase in _CAUSES:
        told = f": {_told(row, own)}" if own else ""
        head += f" Nothing that is measured of {phase} explains that{told}."
        known = {name: off for name, off in known.items() if name not in own}
    return Judgement(phase, f"{head}{_differing(row, known)}")


def _phases_text(row: _Row, phases: Sequence[str], shares: Mapping[str, float]) -> str:
    """`most of it is learning (6.00 s a step, predicted 4.00 s), 30% waiting for groups (…)`."""
    first, *others = phases
    much = "most of it is" if shares[first] > 0.5 else f"the largest part of it, {shares[first]:.0%}, is"
    told = [f"{first} ({_both(row, _PHASES[first])})"]
    told += [f"{shares[each]:.0%} {each} ({_both(row, _PHASES[each])})" for each in others]
    return f"{much} {', '.join(told)}"


def _differing(row: _Row, known: Mapping[str, float]) -> str:
    """A sentence, if there is one, on all figures that are off in the direction of the error, then the rest.

    Args:
        row: of the run.
        known: logarithms of measured over predicted by cause, positive in the direction of the error.
    """
    by_size = sorted(known, key=lambda name: -known[name])
    differ = [name for name in by_size if known[name] >= _AS_PREDICTED]
    kept = [name for name in by_size if abs(known[name]) < _AS_PREDICTED]
    against = [name for name in by_size if known[name] <= -_AS_PREDICTED]
    if not differ:
        return ""
    also = f"; as predicted: {_told(row, kept)}" if kept else ""
    also += f"; the other way: {_told(row, against)}" if against else ""
    return f" What differs: {_told(row, differ)}{also}."


def _factors(row: _Row) -> dict[str, float]:
    """Logarithms of measured over predicted, of the causes that are known of a run."""
    ratios = {
        name: _log_ratio(row, name)
        for name in ("completion_tokens_per_prompt", "dispatched_per_trained", "latency_s", "learn_s")
    }
    tokens = ratios["completion_tokens_per_prompt"]
    longer = 0.0 if tokens is None else tokens
    found = {
        "groups needed": ratios["dispatched_per_trained"],
        "completion length": tokens,
        "engine speed": None if ratios["latency_s"] is None else ratios["latency_s"] - longer,
        "learner speed": None if ratios["learn_s"] is None else ratios["learn_s"] - longer,
    }
    return {name: value for name, value in found.items() if value is not None}


def _machine(row: _Row, factors: Mapping[str, float]) -> str | None:
    """In words that everything was slower or faster by one factor; None where it was not."""
    if not factors.keys() >= {"engine speed", "learner speed"}:
        return None
    of = {"generation": factors["engine speed"], "learning": factors["learner speed"]}
    sync = _log_ratio(row, "sync_s")
    if sync is not None and row["predicted_sync_s"] >= _SYNC_COUNTS * row["predicted_step_s"]:
        of["syncs"] = sync
    least, most = min(of.values()), max(of.values())
    if least * most <= 0 or min(abs(least), abs(most)) <= _AS_PREDICTED or most - least > _ALIKE:
        return None
    told = ", ".join(f"{name} {exp(value):.2f}" for name, value in of.items())
    way = "slower" if least > 0 else "faster"
    return (
        f"All of it was {way} than the costs say, as on a {way} machine: as a multiple of the time "
        f"predicted, at the lengths measured, {told}."
    )


def _told(row: _Row, names: Iterable[str]) -> str:
    return ", ".join(_figures(row, name) for name in names)


def _figures(row: _Row, name: str) -> str:
    """A cause as the two figures behind it."""
    predicted, measured = (_Side(row, kind) for kind in ("predicted", "measured"))
    match name:
        case "groups needed":
            needed = "dispatched_per_trained"
            return (
                f"{measured[needed]:.2f} groups dispatched for each trained one "
                f"(predicted {predicted[needed]:.2f})"
            )
        case "completion length":
            tokens = "completion_tokens_per_prompt"
            return f"{measured[tokens]:,.0f} completion tokens a prompt (predicted {predicted[tokens]:,.0f})"
        case "engine speed":
            longer = _log_ratio(row, "completion_tokens_per_prompt") or 0.0
            took_s, foreseen_s = measured["latency_s"], predicted["latency_s"]
            as_long = f", {_seconds(foreseen_s * exp(longer))} for as many tokens"
            return (
                f"a group took {_seconds(took_s)} from its dispatch to the end of its generation "
                f"(predicted {_seconds(foreseen_s)}{as_long if abs(longer) > _AS_PREDICTED else ''})"
            )
        case _:
            tokens, unit = "completion_tokens_per_prompt", "completion token"
            if not _known(predicted[tokens]):
                tokens, unit = "", "prompt"
            took, foreseen = (
                side["learn_s"] / row["prompts_per_optim_step"] / (side[tokens] if tokens else 1)
                for side in (measured, predicted)
            )
            return f"{_seconds(took)} of learning for each {unit} (predicted {_seconds(foreseen)})"


@dataclass(frozen=True)
class _Side:
    """The predicted or the measured figures of a run."""

    row: _Row
    kind: str

    def __getitem__(self, name: str) -> float:
        value: float = self.row[f"{self.kind}_{name}"]
        return value


def _both(row: _Row, parts: tuple[str, ...]) -> str:
    measured, predicted = (
        sum(row[f"{kind}_{part}_s"] for part in parts) for kind in ("measured", "predicted")
    )
    return f"{_seconds(measured)} a step, predicted {_seconds(predicted)}"


def _difference_s(row: _Row, parts: tuple[str, ...]) -> float:
    """Measured less predicted; nothing of a part that a trace does not have."""
    difference = float(sum(row[f"measured_{part}_s"] - row[f"predicted_{part}_s"] for part in parts))
    return difference if isfinite(difference) else 0.0


def _log_ratio(row: _Row, name: str) -> float | None:
    measured, predicted = row[f"measured_{name}"], row[f"predicted_{name}"]
    if not (_known(measured) and _known(predicted)) or min(measured, predicted) <= 0:
        return None
    return log(measured / predicted)


def _known(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _seconds(value: float) -> str:
    """`15.2 s`, `76.0 ms`, `310 µs`."""
    if value >= 0.1 or not value:
        return f"{seconds_text(value)} s"
    return f"{seconds_text(value * 1e3)} ms" if value >= 1e-4 else f"{seconds_text(value * 1e6)} µs"
