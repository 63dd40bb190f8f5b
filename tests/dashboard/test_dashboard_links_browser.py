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
    said = page.locator('[data-testid="stAlert"]').filter(has_text="there is no sweep").inner_text()
    assert text in said.replace("\u2060", "")  # word joiners, which take no room
    assert parameters(page)["sweep"] == ["fresh"]


@pytest.mark.parametrize(
    ("path", "titles"),
    [
        ("/rollouts?sweep=staleness&step_from=1e400&reward_mean_to=-inf", ("Step from", "Mean reward to")),
        ("/rollouts?sweep=staleness&step_to=2&step_to=inf&page=inf", ("Step to",)),
        ("/timeline?sweep=staleness&from_step=inf&to_step=1e400", ("From step", "To step")),
    ],
)
def test_infinities_in_an_address_are_ignored(visit, path, titles):
    def values():
        return [page.get_by_label(title, exact=True).input_value() for title in titles]

    page = visit(path.split("&")[0])
    shown = values()
    page = visit(path)
    assert page.locator('[data-testid="stException"]').count() == 0
    assert page.locator('[data-testid="stPlotlyChart"]').count() == 1
    assert values() == shown
    assert not {"inf", "-inf", "1e400"} & {value for found in parameters(page).values() for value in found}
    said = page.locator('[data-testid="stAlert"]').filter(has_text="The address asks for").inner_text()
    assert titles[0].lower().replace(" ", "_").removeprefix("mean_") in said
    page.get_by_label(titles[0], exact=True).fill("3")
    page.keyboard.press("Enter")
    settle(page)
    assert page.locator('[data-testid="stException"]').count() == 0
    assert values()[0] == "3"
    assert ["3"] in parameters(page).values()


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_light_or_dark_as_the_browser_is(chromium, address, scheme):
    context = chromium.browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    settle(page)
    colour = page.locator('[data-testid="stApp"]').evaluate("app => getComputedStyle(app).backgroundColor")
    channels = [int(channel) for channel in colour.removeprefix("rgb(").rstrip(")").split(",")]
    assert (min(channels) > 200) if scheme == "light" else (max(channels) < 60)
    context.close()


def test_only_this_machine_can_connect(address):
    port = urlsplit(address).port
    served = next(
        child
        for child in psutil.Process().children(recursive=True)
        if any(found.laddr.port == port for found in child.net_connections("tcp"))
    )
    listening = {c.laddr.ip for c in served.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
