"""Predictions of a sweep's manifest -> rows of table `predictions`."""

from collections.abc import Sequence

from pydantic import ValidationError

from results.files.predictions import Prediction
from results.files.rows import Row
from results.files.sweeps import PlannedRun


def prediction_rows(sweep: str, runs: Sequence[PlannedRun]) -> tuple[list[Row], list[str]]:
    """The row of each run with a prediction, and a complaint about each that cannot be read.

    A newer release's is read as far as it says what this one's does, and else cannot be read either.
    """
    rows: list[Row] = []
    complaints: list[str] = []
    for place, run in enumerate(runs):
        if run.prediction is None:
            continue
        try:
            found = Prediction.model_validate(run.prediction)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, ("runs", place, "prediction", *first["loc"])))
            complaints.append(f"{where}: {first['msg']}")
        else:
            rows.append(_row(sweep, run.run_name, found))
    return rows, complaints


def _row(sweep: str, run_name: str, prediction: Prediction) -> Row:
    scalars = prediction.model_dump(exclude={"costs", "modes", "ages", "position_s"})
    ages = sorted(prediction.ages.items())
    return {
        "sweep": sweep,
        "run_name": run_name,
        **scalars,
        "mode_seconds": [mode.seconds for mode in prediction.modes],
        "mode_weights": [mode.weight for mode in prediction.modes],
        "position_s": list(prediction.position_s),
        "ages": [age for age, _ in ages],
        "age_shares": [share for _, share in ages],
        **{f"cost_{name}": value for name, value in prediction.costs.model_dump().items()},
    }
