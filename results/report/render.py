"""A `Report` as text, in each of its formats that need nothing but the report."""

from results.report.json_document import render_json
from results.report.markdown import render_markdown
from results.report.terminal import render_terminal

__all__ = ["render_json", "render_markdown", "render_terminal"]
