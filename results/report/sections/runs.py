"""What was run: the objective, the experiments, and the settings they share."""

from collections.abc import Iterator

from results.report.build import Report
from results.report.cells import NONE, Row, integer, value_text
from results.report.document import Cells, Rows, Section, Sentences, Sheet
from results.report.knobs import FOUR_KNOBS, SHORT_NAMES, shared_settings
from results.store import records


def run_sections(report: Report) -> Iterator[Section]:
    """Objective, experiments, key configuration."""
    yield Section("Objective", (Sentences((report.objective,)),))
    yield Section("Experiments", (_experiments(report),))
    if shared := shared_settings(report.feasible, report.varying):
        note = "What all runs share; `config.json` beside each run has everything."
        rows = tuple(shared)
        yield Section("Key configuration", (Sheet("", ("Setting", "Value"), rows, 2, (note,)),))


def _experiments(report: Report) -> Sheet:
    keys = [*FOUR_KNOBS, *(key for key in report.varying if key not in FOUR_KNOBS)]

    def cells(row: Row) -> Cells:
        flat = report.configurations[row["run_name"]]
        # A point that cannot run has no number among the experiments; its label is its name.
        label = NONE if row["label"] == row["run_name"] else row["label"]
        knobs = (value_text(flat[key]) if key in flat else NONE for key in keys)
        # A run that was made elsewhere has steps, and none of them is here.
        known = row["steps_done"] > 0 or row["state"] != "succeeded"
        progress = f"{row['steps_done'] if known else NONE}/{integer(row['max_steps'])}"
        return label, row["run_name"], row["state"], *knobs, progress

    heads = (SHORT_NAMES.get(key, key.rpartition(".")[2].replace("_", "\n")) for key in keys)
    columns = ("Exp", "Run", "State", *heads, "Steps")
    shown = report.experiments[["label", "run_name", "state", "steps_done", "max_steps"]]
    return Sheet("", columns, Rows(records(shown), cells), text_columns=3)
