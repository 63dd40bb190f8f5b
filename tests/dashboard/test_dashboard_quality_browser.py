"""In headless Chromium: a link or a row leads to one question; downloads hold what is shown."""

from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
from factories.quality_factory import HTML, SWEEP

from results.report.build import build_report
from results.store import Store
from results.tables.answers import flips_table
from scripts.screenshots import dashboard, settle


@pytest.fixture(scope="module")
def address(quality_dir):
    with dashboard(quality_dir) as served:
        yield served


@pytest.fixture(scope="module")
def changed(quality_dir):
    """Questions lost by Exp4-seed0 against its baseline at 4 shots."""
    store = Store(quality_dir)
    deltas = build_report(store, SWEEP).deltas
    rows = deltas[(deltas["against"] == "baseline") & (deltas["filter"] == "strict-match")]
    row = rows[(rows["label"] == "Exp4-seed0") & (rows["num_fewshot"] == 4)].iloc[0]
    flips = flips_table(store, row["path"], row["other_path"], "strict-match")
    return flips[flips["change"] == "lost"].reset_index(drop=True)


def in_address(page):
    return parse_qs(urlsplit(page.url).query)


def test_a_link_leads_to_a_question_and_a_row_to_another(visit, changed):
    linked, other = int(changed["doc_id"].iloc[-1]), int(changed["doc_id"].iloc[1])
    page = visit(
        f"/quality?sweep={SWEEP}&against=matched+baseline&flips=Exp4+seed+0&shots=4&change=lost"
        f"&question={linked}&x=tokens&window=5"
    )
    main = page.locator('[data-testid="stMain"]')
    checked = main.locator('[data-testid="stButtonGroup"] [aria-checked="true"]').all_inner_texts()
    assert {"matched baseline", "4", "tokens", "5"} <= set(checked)
    shown = main.locator('[data-testid="stCode"]').all_inner_texts()
    assert any(text.strip() == f"Question {linked}: {HTML}" for text in shown)
    assert main.locator("b", has_text="Leo").count() == 0  # as text, not as HTML

    with page.expect_download() as waiting:
        page.locator(".st-key-csv-flips").get_by_role("button", name="CSV").click()
    assert waiting.value.suggested_filename == f"{SWEEP}-flips.csv"
    saved = pd.read_csv(waiting.value.path(), dtype={"answer": str, "other_answer": str, "target": str})
    pd.testing.assert_frame_equal(
        saved[["doc_id", "answer", "other_answer", "change"]],
        changed[["doc_id", "answer", "other_answer", "change"]],
        check_dtype=False,
    )

    table = page.locator('[data-testid="stDataFrame"]').last
    table.scroll_into_view_if_needed()
    table.locator(".dvn-scroller").click(position={"x": 18, "y": 35 + 35 + 17})  # the second row's box
    page.wait_for_function(f"location.search.includes('question={other}')")
    settle(page)
    shown = main.locator('[data-testid="stCode"]').all_inner_texts()
    assert any(text.strip() == f"Question {other}: {HTML}" for text in shown)
    assert in_address(page)["shots"] == ["4"]
    assert in_address(page)["x"] == ["tokens"]
