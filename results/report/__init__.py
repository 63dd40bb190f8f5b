"""One sweep's report: what it says, and how it looks on a terminal, as Markdown, HTML, JSON and CSV."""
