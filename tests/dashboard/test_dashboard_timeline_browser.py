"""A link to a stretch of two runs' timelines restores it, and the CSV holds the spans that are drawn."""

from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from results.store import Store
from results.tables.timeline import timeline
from scripts.screenshots import settle

LINK = "/timeline?sweep=staleness&upper=Exp1&lower=Exp2&from_step=6&to_step=9"


def test_a_link_restores_runs_and_steps_and_the_csv_holds_their_spans(visit, runs_dir, report):
    page = visit(LINK)
    names = report.experiments.set_index("label")["run_name"]
    found = {label: timeline(Store(runs_dir), "staleness", names[label], 6, 9) for label in ("Exp1", "Exp2")}
    titles = [text for text in page.locator(".annotation-text").all_text_contents() if "steps" in text]
    assert [title.split()[0] for title in titles] == ["Exp1", "Exp2"]
    assert ["steps 6 to 9" in title for title in titles] == [True, True]
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV").click()
    saved = pd.read_csv(waiting.value.path())
    for label, expected in found.items():
        spans = saved[saved["label"] == label]
        assert list(spans["end_s"]) == pytest.approx(list(expected.spans["end_s"]))
        assert list(spans["lane"]) == list(expected.spans["lane"])
    page.get_by_role("spinbutton", name="To step").fill("8")
    page.get_by_role("spinbutton", name="To step").press("Enter")
    page.wait_for_function("location.search.includes('to_step=8')")
    settle(page)
    asked = parse_qs(urlsplit(page.url).query)
    kept = {"upper": ["Exp1"], "lower": ["Exp2"], "from_step": ["6"], "sweep": ["staleness"]}
    assert {name: asked.get(name) for name in kept} == kept
