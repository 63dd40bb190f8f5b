"""The filter and what an address may ask for, in headless Chromium; who may connect."""

from urllib.parse import parse_qs, quote, urlsplit

import psutil
import pytest

from scripts.screenshots import settle


def shown_runs(page):
    """What the sidebar says of the filter."""
    return page.locator('[data-testid="stSidebar"]').get_by_text("runs are shown").inner_text()


def parameters(page):
    return parse_qs(urlsplit(page.url).query)


def test_a_link_restores_the_filter_and_pages_and_refreshes_keep_it(visit):
    page = visit("/step-times?sweep=staleness&only=max_staleness&only.max_staleness=1")
    assert "3 of 6 runs are shown" in shown_runs(page)
    titles = page.locator('[data-testid="stPlotlyChart"]').first.inner_text()
    assert "Exp2" in titles
    assert "Exp1" not in titles
    page.get_by_role("link", name="Speed", exact=True).click()
    page.wait_for_selector("h1:has-text('Speed')")
    settle(page)
    assert "3 of 6 runs are shown" in shown_runs(page)
    assert parameters(page)["only.max_staleness"] == ["1"]
    page.reload()
    settle(page)
    assert "3 of 6 runs are shown" in shown_runs(page)
    assert parameters(page)["sweep"] == ["staleness"]


@pytest.mark.parametrize(
    "text", ["<img src=x onerror=document.title='taken'>", "' OR 1=1; DROP TABLE runs; --"]
)
def test_what_an_address_says_is_neither_markup_nor_sql(visit, text):
    page = visit(f"/?sweep={quote(text)}&run={quote(text)}&only={quote(text)}")
    assert page.title() != "taken"
    assert page.locator('[data-testid="stException"]').count() == 0
    assert page.get_by_text(text, exact=False).count() == 1  # said as it stands: there is no such sweep
    assert parameters(page)["sweep"] == ["fresh"]


def test_a_figure_saved_as_html_shows_itself_without_a_network(visit, chromium, tmp_path):
    page = visit("/step-times?sweep=staleness")
    drawn = page.locator(".st-key-figure-step-parts .main-svg text").all_inner_texts()
    with page.expect_download() as waiting:
        page.locator(".st-key-html-step-parts").get_by_role("button", name="HTML").click()
    assert waiting.value.suggested_filename == "staleness-step-parts.html"
    waiting.value.save_as(tmp_path / "figure.html")
    saved = chromium.new_page()
    asked = []
    saved.on("request", lambda request: asked.append(request.url))
    saved.goto((tmp_path / "figure.html").as_uri())
    saved.wait_for_selector(".main-svg")
    assert set(drawn) <= set(saved.locator(".main-svg text").all_inner_texts())
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    saved.close()


def test_only_this_machine_can_connect(address):
    port = urlsplit(address).port
    served = next(
        child
        for child in psutil.Process().children(recursive=True)
        if any(found.laddr.port == port for found in child.net_connections("tcp"))
    )
    listening = {c.laddr.ip for c in served.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
