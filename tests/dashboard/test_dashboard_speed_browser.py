"""Overview and Speed in headless Chromium: a sweep opened from the table, a link to a comparison, its CSV."""

from urllib.parse import parse_qs, urlsplit

import pandas as pd

from results.report.build import build_report
from results.report.chosen import compared_with
from results.store import Store
from scripts.screenshots import settle


def query(page):
    return parse_qs(urlsplit(page.url).query)


def test_a_link_restores_the_comparison_and_the_csv_holds_its_bars(visit, runs_dir):
    page = visit("/speed?sweep=staleness&baseline=Exp2&unit=tokens%2Fs&heat_x=optim.lr&heat_value=speed-up")
    chosen = page.locator('[data-testid="stButtonGroup"] [aria-checked="true"]').all_inner_texts()
    assert chosen == ["tokens/s"]
    for key, value in (("baseline", "Exp2"), ("heat_x", "optim.lr"), ("heat_value", "speed-up")):
        assert page.locator(f".st-key-{key} input").input_value() == value
    with page.expect_download() as waiting:
        page.locator(".st-key-csv-speedups-chosen").get_by_role("button", name="CSV").first.click()
    saved = pd.read_csv(waiting.value.path())
    with compared_with(Store(runs_dir), "staleness", "Exp2") as store:
        expected = build_report(store, "staleness").speedups
    expected = expected[expected["against"] == "chosen"].sort_values(
        "completion_tokens_per_s_speedup", ascending=False
    )
    assert list(saved["label"]) == list(expected["label"])
    assert set(saved["unit"]) == {"tokens/s"}
    for column, end in (("ratio", "speedup"), ("low", "low"), ("high", "high")):
        pd.testing.assert_series_equal(
            saved[column],
            expected[f"completion_tokens_per_s_{end}"].reset_index(drop=True),
            check_names=False,
        )


def test_a_row_of_the_table_of_sweeps_opens_that_sweep(visit):
    page = visit("/?sweep=staleness")
    table = page.locator('[data-testid="stDataFrame"]').first
    box = table.bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + 35 * 2.5)  # the second row's mark: fresh, partial, staleness
    page.wait_for_function("location.search.includes('sweep=partial')")
    settle(page)
    assert page.locator('[data-testid="stMain"]').get_by_text("partial ·").count() == 1
    assert query(page)["sweep"] == ["partial"]


def test_a_figure_saved_as_html_is_called_in_words_and_warns_of_nothing(visit, chromium, tmp_path):
    page = visit("/speed?sweep=staleness&baseline=reference+run&unit=step+time")
    with page.expect_download() as waiting:
        page.locator(".st-key-html-speedups-reference").get_by_role("button", name="HTML").click()
    waiting.value.save_as(tmp_path / "figure.html")
    saved = chromium.new_page()
    told = []
    saved.on("console", lambda message: told.append(message.text))
    saved.goto((tmp_path / "figure.html").as_uri())
    saved.wait_for_selector(".main-svg .bars path")
    heading = "staleness: speed-ups against the reference run, by step time"
    assert (saved.title(), saved.locator("h1").inner_text()) == (heading, heading)
    assert told == []
    saved.close()
