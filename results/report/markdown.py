"""A `Report` as GitHub-flavoured Markdown. Formatting only."""

from collections.abc import Iterator, Sequence

from results.report.build import Report
from results.report.document import Block, Commands, Section, Sentences, Sheet, one_line
from results.report.sections import sections
from results.report.title import title


def render_markdown(report: Report, chosen: Sequence[Section] | None = None) -> str:
    """The page.

    Args:
        report: to be shown.
        chosen: its sections, by default all.
    """
    lines = [f"# {title(report)}", "", *(f"> {notice}\n>" for notice in report.notices), ""]
    for section in sections(report) if chosen is None else chosen:
        lines += [f"## {section.title}", ""]
        lines += [line for block in section.blocks for line in _block(block)]
    return "\n".join(lines)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Sheet():
            if block.title:
                yield from (f"### {block.title}", "")
            yield from (*_table(block), "")
            for note in block.notes:
                yield from (note, "")
        case Sentences(items):
            yield from (*(f"- {sentence}" for sentence in items), "")
        case Commands(lines, language):
            yield from (f"```{language}", *lines, "```", "")


def _table(sheet: Sheet) -> Iterator[str]:
    yield _line([one_line(column) for column in sheet.columns])
    yield _line([":--" if place < sheet.text_columns else "--:" for place in range(len(sheet.columns))])
    for row in sheet.rows:
        yield _line(row)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(text: str) -> str:
    """Nothing in it is a tag, or the end of a cell."""
    return text.replace("<", "&lt;").replace("|", "\\|").replace("\n", "<br>")
