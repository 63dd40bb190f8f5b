"""A `Report` as text: for a terminal, as Markdown, as JSON. Formatting only."""

import json
import math
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from results.report.build import Report
from results.report.sheets import Sheet, sheets
from results.store import records


def render_terminal(report: Report, console: Console) -> None:
    """Prints the report; tables fit 80 columns, and use more where there are more."""
    console.print(Text(_title(report), style="bold"))
    for notice in report.notices:
        console.print(Text(f"! {notice}", style="yellow"))
    for sheet in sheets(report):
        console.print()
        console.print(Text(sheet.title, style="bold"))
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for place, column in enumerate(sheet.columns):
            justify: JustifyMethod = "left" if place < sheet.text_columns else "right"
            table.add_column(column, justify=justify, overflow="fold")
        for row in sheet.rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table, end="")
        for note in sheet.notes:
            console.print(Text(note, style="dim"))
    if report.observations:
        console.print(Text("\nWhat this shows", style="bold"))
    for sentence in report.observations:
        console.print(Text(f"- {sentence}"))


def render_markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown."""
    lines = [f"# {_title(report)}", ""]
    lines += [f"> {notice}" for notice in report.notices] + [""]
    for sheet in sheets(report):
        lines += [f"## {sheet.title}", "", *_markdown_table(sheet), ""]
        lines += [line for note in sheet.notes for line in (note, "")]
    if report.observations:
        lines += ["## What this shows", "", *(f"- {sentence}" for sentence in report.observations), ""]
    return "\n".join(lines)


def render_json(report: Report) -> str:
    """All raw numbers, tables as lists of objects; what is missing is null."""
    content = {field.name: _plain(getattr(report, field.name)) for field in fields(report)}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _title(report: Report) -> str:
    """Names the profile: nobody may take the built-in model's numbers for another's."""
    parts = [f"Sweep {report.sweep}", f"profile {report.profile or 'unknown'}"]
    parts += [", ".join(report.models)] if report.models else []
    if report.created_unix is not None:
        parts.append(f"{datetime.fromtimestamp(report.created_unix, UTC):%Y-%m-%d %H:%M} UTC")
    return " · ".join(parts)


def _markdown_table(sheet: Sheet) -> Iterator[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"

    yield line(list(sheet.columns))
    yield line([":--" if place < sheet.text_columns else "--:" for place in range(len(sheet.columns))])
    for row in sheet.rows:
        yield line(list(row))


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a report holds, as JSON
    if isinstance(value, pd.DataFrame):
        return [{name: _plain(cell) for name, cell in row.items()} for row in records(value)]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    missing = value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value))
    return None if missing else value
