"""The HTML report: one file that needs nothing, readable by all, and nothing runs over in a browser."""

import re
from html.parser import HTMLParser

import pytest
from factories.sweep_factory import write_synthetic_sweep

from results.ingest import ingest
from results.report.build import build_report
from results.report.charts import charts
from results.report.html import render_html
from results.report.sections import sections
from results.store import Store
from scripts.screenshots import browser

VOID = {"meta", "br", "link", "img", "input", "hr"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    runs = tmp_path_factory.mktemp("html")
    write_synthetic_sweep(runs)
    ingest(runs)
    store = Store(runs)
    report = build_report(store)
    drawn = charts(report, store)
    path = runs / "report.html"
    path.write_text(render_html(report, drawn), encoding="utf-8")
    return report, drawn, path


class Tags(HTMLParser):
    """Open and close tags in balance, and every attribute that could fetch something."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [value for name, value in attrs if name in {"src", "href", "data"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


@pytest.fixture(scope="module")
def tags(made):
    parser = Tags()
    parser.feed(made[2].read_text(encoding="utf-8"))
    parser.close()
    return parser


def test_it_is_whole_and_fetches_nothing(made, tags):
    assert tags.open == []
    assert all(value.startswith("#") for value in tags.fetched)
    text = made[2].read_text(encoding="utf-8")
    assert text.count("plotly.js v") == 1, "plotly.js is in it once"
    assert "@import" not in text.split("</style>")[0] and "url(" not in text.split("</style>")[0]


def test_every_section_sentence_and_number_is_in_it(made, tags):
    report, _, _ = made
    text = " ".join(" ".join(tags.text).split())
    for section in sections(report):
        assert section.title in text
    said = (*report.notices, *report.observations, *report.conclusions)
    for sentence in said:
        words = " ".join(sentence.replace("`", " ").split())
        assert re.sub(r"\s+", "", words) in re.sub(r"\s+", "", text)


def test_every_chart_has_its_section_and_says_in_words_what_it_shows(made):
    report, drawn, path = made
    titles = {section.title for section in sections(report)}
    assert {chart.section for chart in drawn} <= titles
    assert {chart.section for chart in drawn} == {
        *("Training speed", "Step time distribution", "Evaluation results", "Deltas"),
        *("Quality observations", "Staleness", "Predicted and measured"),
    }
    text = path.read_text(encoding="utf-8")
    assert text.count('role="img"') == len(drawn)
    (speed,) = [chart for chart in drawn if "matched baseline" in chart.title and "Prompts" in chart.title]
    row = report.speedups.query("against == 'baseline' and label == 'Exp4'").iloc[0]
    assert (
        f"Exp4 {row['prompts_per_s_speedup']:.2f} times Exp3 ({row['prompts_per_s_low']:.2f} to"
        in speed.alternative
    )


def test_labels_are_escaped(made, tmp_path):
    folder = write_synthetic_sweep(tmp_path, steps=4, questions=5)
    manifest = folder / "sweep.json"
    manifest.write_text(manifest.read_text().replace('"Exp1"', '"<b onload=x>"'))
    ingest(tmp_path)
    store = Store(tmp_path)
    report = build_report(store)
    text = render_html(report, charts(report, store))
    assert "&lt;b onload=x&gt;" in text and "<b onload" not in text


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


OVERLAPPING = """() => {
    const found = [];
    for (const plot of document.querySelectorAll('.js-plotly-plot')) {
        const boxes = [...plot.querySelectorAll('text')].filter(each => each.textContent.trim())
            .map(each => [each.textContent, each.getBoundingClientRect()]).filter(([_, box]) => box.width);
        boxes.forEach(([one, a], place) => boxes.slice(place + 1).forEach(([other, b]) => {
            const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (wide > 2 && high > 4) found.push(one + ' / ' + other);
        }));
    }
    return found;
}"""
OUTSIDE = """() => [...document.querySelectorAll('h1, h2, h3, p, li, figcaption, svg text')]
    .filter(each => each.getClientRects().length && each.getBoundingClientRect().right > innerWidth)
    .map(each => each.textContent)"""


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (800, "dark")])
def test_nothing_runs_over_or_into_another_in_a_browser(made, chromium, width, scheme):
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request", lambda request: problems.append(request.url) if request.url.startswith("http") else None
    )
    page.goto(made[2].as_uri())
    page.wait_for_function(
        "count => document.querySelectorAll('.js-plotly-plot .main-svg .xtick').length > 0"
        " && document.querySelectorAll('.js-plotly-plot').length === count",
        arg=len(made[1]),
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OUTSIDE) == []
    assert page.evaluate(OVERLAPPING) == []
    text, ground = page.evaluate(
        "[getComputedStyle(document.querySelector('.xtick text')).fill,"
        " getComputedStyle(document.body).backgroundColor]"
    )
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) > 380 for colour in (text, ground)]
    assert light == ([False, True] if scheme == "light" else [True, False])
    context.close()
    assert problems == []
