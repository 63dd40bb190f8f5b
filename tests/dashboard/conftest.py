"""A store with synthetic sweeps, the dashboard served over it on this machine, and headless Chromium."""

import json
import re
import shutil
import time

import pytest
from factories.quality_factory import write_quality_sweep
from factories.sweep_factory import REFERENCE_ARMS, write_synthetic_sweep

from results.ingest import ingest
from results.report.build import build_report
from results.store import Store
from scripts.screenshots import WIDTH, browser, dashboard, settle

STEPS = 16


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory):
    """`staleness` has finished; in `partial` one run is pending and one running; `fresh` is not evaluated."""
    root = tmp_path_factory.mktemp("runs")
    write_synthetic_sweep(root, "staleness", steps=STEPS, questions=60)
    write_synthetic_sweep(root, "partial", steps=STEPS, questions=60, seed=1, finished=False)
    write_synthetic_sweep(root, "fresh", steps=STEPS, seed=2, finished=False, arms=REFERENCE_ARMS[3:])
    for evaluations in [*(root / "fresh").glob("*/eval"), root / "fresh" / "base_models"]:
        shutil.rmtree(evaluations)
    ingest(root)
    return root


@pytest.fixture(scope="session")
def quality_dir(tmp_path_factory):
    """A sweep with seeds, samples with their texts, and held-out evaluations."""
    root = tmp_path_factory.mktemp("quality")
    write_quality_sweep(root)
    return root


@pytest.fixture(scope="session")
def report(runs_dir):
    return build_report(Store(runs_dir), "staleness")


@pytest.fixture(scope="module")
def address(runs_dir):
    with dashboard(runs_dir) as served:
        yield served


@pytest.fixture(scope="module")
def chromium():
    """One context for a file's tests: a second page finds Streamlit's scripts in the cache.

    No longer than that: while playwright runs, no other event loop can run in this thread.
    """
    with browser() as started:
        yield started.new_context(viewport={"width": WIDTH, "height": 900}, reduced_motion="reduce")


def is_ours(message):
    """Errors but those of Streamlit's search for its own root, which begins below the page's path."""
    probed = re.search(r"/[a-z-]+/_stcore/(health|host-config)$", message.location["url"])
    return message.type == "error" and not probed


@pytest.fixture
def page(chromium):
    """A page whose errors, in the console or thrown, fail the test."""
    opened = chromium.new_page()
    errors = []
    opened.on("console", lambda message: errors.append(message) if is_ours(message) else None)
    opened.on("pageerror", lambda error: errors.append(error))  # noqa: PLW0108 - it marks its handlers
    yield opened
    opened.close()
    assert [str(error) for error in errors] == []


@pytest.fixture
def visit(page, address):
    """Opens a path and waits until it has settled."""

    def go(path):
        page.goto(address + path)
        settle(page)
        return page

    return go


@pytest.fixture(scope="session")
def advance(runs_dir):
    """Appends steps to a running run's trace, as its trainer would, and publishes them."""

    def go(sweep, label, steps):
        experiments = build_report(Store(runs_dir), sweep).experiments
        name = experiments.set_index("label").loc[label, "run_name"]
        trace = runs_dir / sweep / name / "trace.jsonl"
        step = [json.loads(line) for line in trace.read_text().splitlines() if '"kind":"step"' in line][-1]
        with trace.open("a") as file:
            for _ in range(steps):
                step["step"] += 1
                step["policy_version"] += 1
                step["start_s"] += step["wall_s"]
                step["t"] += step["wall_s"]
                file.write(json.dumps(step) + "\n")
        status = trace.with_name("status.json")
        told = json.loads(status.read_text()) | {"step": step["step"] + 1, "heartbeat": time.time()}
        status.write_text(json.dumps(told))
        ingest(runs_dir)

    return go
