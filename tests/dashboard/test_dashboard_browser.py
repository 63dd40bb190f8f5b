"""The served dashboard in headless Chromium: every page, links, downloads, and a sweep that runs."""

from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from results.store import Store
from scripts.screenshots import PAGES, settle

TITLES = {
    "": "Overview",
    "speed": "Speed",
    "step-times": "Step times",
    "timeline": "Timeline",
    "quality": "Quality",
    "staleness": "Staleness",
    "plan": "Plan",
    "runs": "Runs",
    "rollouts": "Rollouts",
}
FOLLOWED_WITHIN_MS = 60_000
TEXTS_OUTSIDE_THEIR_FIGURE = """() => {
    const outside = [];
    for (const chart of document.querySelectorAll('[data-testid="stPlotlyChart"]')) {
        const frame = chart.getBoundingClientRect();
        for (const text of chart.querySelectorAll('.main-svg text')) {
            const box = text.getBoundingClientRect();
            if (box.width && (box.left < frame.left - 1 || box.right > frame.right + 1
                || box.top < frame.top - 1 || box.bottom > frame.bottom + 1))
                outside.push(text.textContent);
        }
    }
    return outside;
}"""


def sweep_in_address(page):
    return parse_qs(urlsplit(page.url).query).get("sweep")


def test_the_screenshots_are_of_all_pages():
    assert ["", *PAGES[1:]] == list(TITLES)


@pytest.mark.parametrize(("path", "title"), TITLES.items())
def test_every_page_opens_and_nothing_overflows(visit, path, title):
    page = visit(f"/{path}?sweep=staleness")
    assert page.locator("h1").inner_text() == title
    assert page.locator('[data-testid="stException"]').count() == 0
    # The first page does without: what draws figures takes the browser longer than all else.
    assert (page.locator('[data-testid="stPlotlyChart"] .main-svg').count() > 0) == bool(path)
    main = page.locator('[data-testid="stMain"]')
    assert main.evaluate("element => element.scrollWidth <= element.clientWidth")
    # A table that is wider than its frame scrolls inside it.
    for table in page.locator('[data-testid="stDataFrame"] .dvn-scroller').all():
        assert table.evaluate("element => element.scrollWidth <= element.clientWidth + 1")
    assert page.evaluate(TEXTS_OUTSIDE_THEIR_FIGURE) == []


@pytest.mark.parametrize(
    ("path", "width"), [("speed", 1000), ("plan", 1000), ("step-times", 390), ("quality", 390)]
)
def test_in_a_narrow_window_figures_and_tables_scroll_and_the_page_does_not(visit, page, path, width):
    page.set_viewport_size({"width": width, "height": 900})
    visit(f"/{path}?sweep=staleness")
    main = page.locator('[data-testid="stMain"]')
    assert main.evaluate("element => element.scrollWidth <= element.clientWidth")
    assert page.evaluate(TEXTS_OUTSIDE_THEIR_FIGURE) == []
    for plot in page.locator('[data-testid="stPlotlyChart"] .main-svg .plot').all():
        assert plot.evaluate("element => element.getBoundingClientRect().width") > 150


def test_a_link_restores_page_and_sweep_and_pages_keep_the_sweep(visit):
    page = visit("/step-times?sweep=partial")
    assert page.locator("h1").inner_text() == "Step times"
    assert page.locator('[data-testid="stMain"]').get_by_text("partial ·").count() == 1
    page.get_by_role("link", name="Quality").click()
    page.wait_for_selector("h1:has-text('Quality')")
    settle(page)
    assert sweep_in_address(page) == ["partial"]
    assert urlsplit(page.url).path == "/quality"
    assert page.locator('[data-testid="stMain"]').get_by_text("partial ·").count() == 1


def test_a_link_restores_the_selections_of_a_page(visit):
    page = visit("/quality?sweep=staleness&against=reference+run&x=hours")
    chosen = page.locator('[data-testid="stButtonGroup"] [aria-checked="true"]').all_inner_texts()
    assert {"reference run", "hours"} <= set(chosen)
    page.get_by_role("radio", name="prompts").click()
    page.wait_for_function("location.search.includes('x=prompts')")
    settle(page)
    assert sweep_in_address(page) == ["staleness"]


def test_a_csv_holds_what_the_table_shows(visit, runs_dir):
    page = visit("/speed?sweep=staleness")
    with page.expect_download() as waiting:
        page.locator(".st-key-csv-speedup-table-baseline").get_by_role("button", name="CSV").first.click()
    assert waiting.value.suggested_filename == "staleness-speedup-table-baseline.csv"
    saved = pd.read_csv(waiting.value.path())
    frame = page.locator('[data-testid="stDataFrame"]').last
    frame.scroll_into_view_if_needed()  # cells are drawn when they come into sight
    table = frame.locator("canvas table")
    table.locator("td").first.wait_for(state="attached")
    rows = [row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()]
    shown = pd.DataFrame(rows)
    assert list(shown[0]) == list(saved["label"])
    assert list(shown[1]) == list(saved["other_label"])
    # Beside what is shown, the CSV has apart what one cell says of the time to a reward.
    apart = ["time_to_reward_bound", "time_to_reward_speedup"]
    assert list(saved.columns[shown.shape[1] :]) == apart
    assert len(shown) == len(saved)
    ratios = Store(runs_dir).query(
        "SELECT * FROM speedups WHERE sweep = 'staleness' AND against = 'baseline' ORDER BY position"
    )
    pd.testing.assert_series_equal(saved["prompts_per_s_speedup"], ratios["prompts_per_s_speedup"])


def test_a_running_sweep_goes_on_by_itself_and_selections_stay(visit, advance):
    page = visit("/quality?sweep=fresh")
    page.get_by_role("radio", name="hours").click()
    page.wait_for_function("location.search.includes('x=hours')")
    settle(page)
    assert page.get_by_text("Exp4 running, step 8 of 16").count() == 1  # in the sidebar
    page.evaluate("window.neverReloaded = true")
    advance("fresh", "Exp4", 3)
    page.get_by_text("Exp4 running, step 11 of 16").wait_for(timeout=FOLLOWED_WITHIN_MS)
    settle(page)
    assert page.evaluate("window.neverReloaded")
    assert sweep_in_address(page) == ["fresh"]
    chosen = page.locator('[data-testid="stButtonGroup"] [aria-checked="true"]').all_inner_texts()
    assert "hours" in chosen
