"""How far an arm's trace alone predicts the others, as Markdown.

    python scripts/prediction_errors.py SWEEP ARM [RUNS_DIR]

For each seed of a finished sweep: costs fitted to that seed of ARM (such as Exp1), and with them the mean
step time of the other arms of that seed; then costs fitted to all seeds of ARM, against the means over seeds.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from results.store import Store
from sweepctl.planner.predict import predict
from sweepctl.planner.source import named_costs
from trainer.config import RunConfig
from trainer.errors import SweepctlError

PLAYS = 20
QUERY = """
SELECT r.label, r.seed, r.config, t.step_mean_s, m.modes
FROM runs AS r JOIN run_totals AS t USING (sweep, run_name) LEFT JOIN step_modes AS m USING (sweep, run_name)
WHERE r.sweep = ? AND r.state = 'succeeded' ORDER BY r.position
"""


def rows(runs_dir: Path, sweep: str, arm: str) -> Iterator[tuple[str, str, float, float, int, str]]:
    """Costs, arm, predicted and measured mean step time in s, predicted and measured number of modes."""
    runs = Store(runs_dir).query(QUERY, [sweep])
    runs["arm"] = runs["label"].str.partition("-")[0]
    others = runs[runs["arm"] != arm]
    for source, known in ((f"{arm}-seed{seed}", part) for seed, part in others.groupby("seed")):
        yield from _errors(runs_dir, f"{sweep}/{source}", source, known)
    yield from _errors(runs_dir, f"{sweep}/{arm}", f"{arm}, all seeds", others)


def _errors(
    runs_dir: Path, name: str, source: str, runs: pd.DataFrame
) -> Iterator[tuple[str, str, float, float, int, str]]:
    costs = named_costs(runs_dir, name)
    for arm, part in runs.groupby("arm", sort=True):
        config = RunConfig.model_validate_json(part["config"].iloc[0])
        found = predict(config, costs, PLAYS)
        modes = ", ".join(str(number) for number in part["modes"])
        yield source, str(arm), found.step_s, part["step_mean_s"].mean(), len(found.modes), modes


def main() -> None:
    """Print the table."""
    sweep, arm, *rest = sys.argv[1:]
    print("| costs | arm | predicted | measured | error | modes predicted | measured |")
    print("| :-- | :-- | --: | --: | --: | --: | --: |")
    for source, name, predicted, measured, modes, found in rows(
        Path(rest[0] if rest else "runs"), sweep, arm
    ):
        error = predicted / measured - 1
        print(
            f"| {source} | {name} | {predicted:.2f} s | {measured:.2f} s | {error:+.1%} | {modes} | {found} |"
        )


if __name__ == "__main__":
    try:
        main()
    except SweepctlError as error:
        sys.exit(f"error: {error}")
