"""A `Report` as one HTML file: tables, charts and sentences, with nothing to fetch from anywhere.

plotly.js is in it once. Every chart has its text alternative; colours follow the reader's light or dark
setting, and paper is always light.
"""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

import plotly.io
from plotly.offline import get_plotlyjs

from results.report.build import Report
from results.report.charts import Chart
from results.report.document import (
    SHOWN_ROWS,
    Block,
    Commands,
    Section,
    Sentences,
    Sheet,
    one_line,
    shortened,
)
from results.report.sections import sections
from results.report.title import title

_ADVICE = "`sweepctl report --format md`, csv or json has all"
_CONFIG = {"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["lasso2d", "select2d"]}


def render_html(report: Report, charts: Sequence[Chart]) -> str:
    """The page.

    Args:
        report: to be shown.
        charts: `results.report.charts.charts`; each stands in its section, before the tables.
    """
    shown = shortened(sections(report), SHOWN_ROWS, _ADVICE)
    heading = escape(title(report))
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{heading}</title>",
        f"<style>{(files('results.report') / 'report.css').read_text(encoding='utf-8')}</style>",
        f"<script>{get_plotlyjs()}</script>" if charts else "",
        "</head><body><main>",
        f"<h1>{heading}</h1>",
        *(f'<p class="notice">{_inline(notice)}</p>' for notice in report.notices),
        _contents(shown),
        *(line for section in shown for line in _section(section, charts)),
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _contents(shown: Sequence[Section]) -> str:
    links = (f'<a href="#{_anchor(section)}">{escape(section.title)}</a>' for section in shown)
    return f'<nav aria-label="Sections">{" ".join(links)}</nav>'


def _section(section: Section, charts: Sequence[Chart]) -> Iterator[str]:
    yield f'<section id="{_anchor(section)}"><h2>{escape(section.title)}</h2>'
    yield from (_figure(chart) for chart in charts if chart.section == section.title)
    for block in section.blocks:
        yield from _block(block)
    yield "</section>"


def _figure(chart: Chart) -> str:
    drawn = plotly.io.to_html(
        chart.figure, include_plotlyjs=False, full_html=False, config=_CONFIG, default_width="100%"
    )
    label = escape(chart.alternative, quote=True)
    return (
        f"<figure><figcaption>{escape(chart.title)}</figcaption>"
        f'<div role="img" aria-label="{label}">{drawn}</div>'
        f"<details><summary>In words</summary><p>{escape(chart.alternative)}</p></details></figure>"
    )


def _block(block: Block) -> Iterator[str]:
    match block:
        case Sheet():
            if block.title:
                yield f"<h3>{escape(block.title)}</h3>"
            yield from _table(block)
            yield from (f'<p class="note">{_inline(note)}</p>' for note in block.notes)
        case Sentences(items):
            yield from ("<ul>", *(f"<li>{_inline(item)}</li>" for item in items), "</ul>")
        case Commands(lines):
            yield f"<pre>{escape(chr(10).join(lines))}</pre>"


def _table(sheet: Sheet) -> Iterator[str]:
    kinds = ["text" if place < sheet.text_columns else "number" for place in range(len(sheet.columns))]
    yield '<div class="wide" tabindex="0"><table><thead><tr>'
    for kind, column in zip(kinds, sheet.columns, strict=True):
        yield f'<th scope="col" class="{kind}">{escape(one_line(column))}</th>'
    yield "</tr></thead><tbody>"
    for row in sheet.rows:
        cells = (
            f'<td class="{kind}">{escape(cell).replace(chr(10), "<br>")}</td>'
            for kind, cell in zip(kinds, row, strict=True)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"


def _inline(text: str) -> str:
    """Text with what stands in backticks as code."""
    parts = escape(text).split("`")
    if len(parts) % 2 == 0:  # one without its other half is a character like others
        return "`".join(parts)
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))


def _anchor(section: Section) -> str:
    return section.title.lower().replace(" ", "-")
