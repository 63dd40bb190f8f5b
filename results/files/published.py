"""What was published of runs that were made elsewhere -> rows of the two `published_` tables."""

import json
from typing import Any

from results.files.sweeps import Published, RunRecord


def published_run_rows(sweep: str, run: RunRecord) -> list[dict[str, Any]]:
    """The run's row of `published_runs`; none where nothing was published."""
    found = _published(run)
    if found is None:
        return []
    times = found.step_time_s
    return [
        {
            "sweep": sweep,
            "run_name": run.name,
            "training_time_s": found.training_time_s,
            **{
                f"step_{name}_s": getattr(times, name, None)
                for name in ("mean", "std", "median", "min", "max")
            },
            "steps": times.steps if times else None,
            "step_ranges": json.dumps([each.model_dump() for each in times.ranges] if times else []),
            "step_values_s": list(times.values) if times else [],
            "notes": found.notes,
            "other": json.dumps(found.other),
        }
    ]


def published_accuracy_rows(sweep: str, run: RunRecord) -> list[dict[str, Any]]:
    """A row of `published_accuracy` for each figure."""
    found = _published(run)
    return [
        {
            "sweep": sweep,
            "run_name": run.name,
            "task": each.task,
            "num_fewshot": each.num_fewshot,
            "filter": each.filter,
            "percent": each.percent,
            "exact_percent": each.exact_percent,
            "questions": each.questions,
        }
        for each in (found.accuracy if found else ())
    ]


def _published(run: RunRecord) -> Published | None:
    return run.plan.published if run.plan else None
