"""Text of users as Markdown: each form was seen in Chromium as it stands, on one line, unlinked."""

import pytest

from dashboard.shown import escaped

JOINER = "\u2060"


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("s1_lr1e-05", r"s1\_lr1e-05"),
        ("<b>x</b> **y** [a](b)", r"\<b\>x\</b\> \*\*y\*\* \[a\](b)"),
        (":red[a]", r"\:red\[a\]"),
        (":material/check: right", rf"\:{JOINER}material/check\: right"),
        (":smile:", rf"\:{JOINER}smile\:"),
        ("WWW.example.com", f"WWW{JOINER}.example.com"),
        ("http://x.y/z", rf"http\:{JOINER}//x.y/z"),
        ("me@example.com", f"me{JOINER}@example.com"),
        ("&copy; A&B", "&amp;copy; A&amp;B"),
        ("x -> y", rf"x -{JOINER}\> y"),
        ("x <- y", rf"x \<{JOINER}- y"),
        ("x <-> y", rf"x \<-{JOINER}\> y"),
        ("x -- y", f"x -{JOINER}- y"),
        ("x >= 1", rf"x \>{JOINER}= 1"),
        ("x <= 1", rf"x \<{JOINER}= 1"),
        ("x ~= 1", rf"x \~{JOINER}= 1"),
        ("sweepctl run --only a", "sweepctl run --only a"),
        ("Qwen/Qwen3@main", "Qwen/Qwen3@main"),
        ("line1\n- line2", "line1 - line2"),
        ("a\r\n===", "a ==="),
        ("- item", r"\- item"),
        ("\n - item", r" \- item"),
        ("+ item", r"\+ item"),
        ("12. item", r"12\. item"),
        ("1) item", r"1\) item"),
    ],
)
def test_text_is_shown_as_it_stands(text, markdown):
    assert escaped(text) == markdown
