"""The tables of a `Report` as CSV: the columns of `results.report.rows`, units in their names."""

import csv
import io
import json

from results.report.build import Report
from results.report.json_document import table_rows
from results.report.rows import TABLES, check_table


def csv_table(report: Report, name: str) -> str:
    """One table with a header; what is missing is empty, lists are JSON.

    Raises:
        ConfigError: there is no such table.
    """
    check_table(name)
    model = TABLES[name]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(model.model_fields)
    for row in table_rows(getattr(report, name), model):
        writer.writerow([_cell(value) for value in row.model_dump().values()])
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, list):
        return json.dumps(value)
    if isinstance(value, bool):
        return str(value).lower()
    return value
