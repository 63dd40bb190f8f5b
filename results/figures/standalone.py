"""A figure as a page of its own: one HTML file that needs no network."""

from html import escape

import plotly.graph_objects as go

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem }}
h1 {{ font-size: 1.3rem }} p {{ color: #444 }}</style>
</head>
<body>
<h1>{title}</h1>
{figure}
<p>{caption}</p>
</body>
</html>
"""


def standalone_html(figure: go.Figure, title: str, caption: str) -> str:
    """The page, with plotly.js in it.

    Args:
        figure: to show; it stays as it is.
        title: heading, and what the browser calls the page.
        caption: stands below, the text alternative.
    """
    drawn = go.Figure(figure).update_layout(template="plotly_white", paper_bgcolor="white")
    body = drawn.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False})
    return _PAGE.format(title=escape(title), figure=body, caption=escape(caption))
