"""Pages Runs and Rollouts in headless Chromium: rows that are clicked, links, downloads, a model's markup."""

import json
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep

from results.ingest import ingest
from scripts.screenshots import settle

ARMS = REFERENCE_ARMS[:3]
FIRST, SECOND = (arm.run_name(0, several=False) for arm in ARMS[:2])
HOSTILE = '<img src=x onerror="window.pwned = true"> **bold** <b>%{y}</b>'
ROW_PX, MARKER_PX = 35, 17


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    """A sweep whose first group was written by a model that knows HTML and Markdown."""
    root = tmp_path_factory.mktemp("runs")
    sweep = write_synthetic_sweep(root, "staleness", steps=12, questions=20, arms=ARMS)
    rollouts = sweep / FIRST / "rollouts.jsonl"
    first, *others = rollouts.read_text().splitlines()
    line = json.loads(first)
    line["prompt"] = line["answer"] = HOSTILE
    for completion in line["completions"]:
        completion["text"], completion["tokens"][0] = HOSTILE, "<b>%{y}"
    rollouts.write_text("\n".join([json.dumps(line), *others]) + "\n")
    ingest(root)
    return root


def choose(page, table, row):
    """Clicks the mark at the left of a row."""
    frame = page.locator('[data-testid="stDataFrame"]').nth(table)
    frame.scroll_into_view_if_needed()
    frame.click(position={"x": MARKER_PX, "y": ROW_PX * (row + 1) + MARKER_PX})


def in_address(page, name):
    return parse_qs(urlsplit(page.url).query).get(name)


def test_rows_are_chosen_by_clicks_and_by_links(visit):
    page = visit(f"/runs?sweep=staleness&show={FIRST}&differences=true")
    page.get_by_text(f"Exp1: {FIRST}").wait_for()
    choose(page, 0, 1)
    page.get_by_text("Two runs").wait_for()
    settle(page)
    assert in_address(page, "show") == [FIRST, SECOND]
    assert in_address(page, "differences") == ["true"]
    page.reload()
    settle(page)
    assert page.get_by_text("Two runs").count() == 1
    with page.expect_download() as waiting:
        page.locator(".st-key-csv-runs").get_by_role("button", name="CSV").click()
    saved = pd.read_csv(waiting.value.path())
    assert list(saved["run_name"])[:3] == [arm.run_name(0, several=False) for arm in ARMS]


def test_what_a_model_wrote_is_shown_as_it_is(visit, runs_dir):
    page = visit(f"/rollouts?sweep=staleness&rollouts={FIRST}&group=0")
    shown = [block.inner_text() for block in page.locator('[data-testid="stCode"]').all()]
    assert shown == [HOSTILE] * 3
    assert page.evaluate("window.pwned") is None
    assert page.locator('img[src="x"]').count() == 0
    drawn = page.locator('[data-testid="stPlotlyChart"] .main-svg text').all_text_contents()
    assert "<b>%{y}" in drawn
    choose(page, 1, 2)
    page.get_by_text("Completion 3").wait_for()
    settle(page)
    assert in_address(page, "completion") == ["3"]
    name = f"{FIRST}-group-0-completion-3-tokens"
    with page.expect_download() as waiting:
        page.locator('[class*="st-key-csv-"][class*="completion-3-tokens"]').get_by_role("button").click()
    assert waiting.value.suggested_filename == f"staleness-{name}.csv"
    line = json.loads((runs_dir / "staleness" / FIRST / "rollouts.jsonl").read_text().splitlines()[0])
    saved = pd.read_csv(waiting.value.path(), keep_default_na=False)
    assert list(saved["token"]) == line["completions"][2]["tokens"]
