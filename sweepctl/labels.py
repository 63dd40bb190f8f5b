"""Labels: `Exp1`, `Exp2`, … in the plan's order, and `Exp1-seed0`, … where there are several seeds."""

_SEED = "-seed"


def of_seed(arm: str, seed: int) -> str:
    """The label of an arm's run with a seed."""
    return f"{arm}{_SEED}{seed}"


def arm_of(label: str) -> str:
    """The arm's part of a run's label."""
    return label.partition(_SEED)[0]
