"""Saves a picture of every page of the dashboard: `python scripts/screenshots.py --sweep staleness`.

Starts the dashboard on a free port of this machine, opens its pages in headless Chromium, waits until they
have settled, and ends what it started.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = ("overview", "speed", "step-times", "timeline", "quality", "staleness", "plan", "runs", "rollouts")
"""Names of the pictures, and paths of the pages; the overview is what the bare address opens."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDTH = 1400
READY_TIMEOUT_S = 120.0
SETTLED_TIMEOUT_MS = 120_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), help="where the results are")
    parser.add_argument("--sweep", help="by default the most recent")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder of the pictures")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with dashboard(arguments.runs_dir) as address, browser() as chromium:
        page = chromium.new_page(
            viewport={"width": WIDTH, "height": 900}, color_scheme=arguments.theme, reduced_motion="reduce"
        )
        for name in PAGES:
            path = "" if name == PAGES[0] else name
            query = f"?{urlencode({'sweep': arguments.sweep})}" if arguments.sweep else ""
            page.goto(f"{address}/{path}{query}")
            settle(page)
            picture = arguments.out / f"{name}.png"
            save_whole_page(page, picture)
            print(picture)


def _shown(runs_dir: Path) -> str:
    """As the pages are to show it: within the repository without the way there."""
    return str(runs_dir.relative_to(REPOSITORY) if runs_dir.is_relative_to(REPOSITORY) else runs_dir)


@contextmanager
def dashboard(runs_dir: Path) -> Iterator[str]:
    """The address of a dashboard over a runs directory, which ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(REPOSITORY / "dashboard" / "app.py")]
    process = subprocess.Popen(
        [*command, "--server.port", str(port)],
        cwd=REPOSITORY,  # where .streamlit/config.toml is
        env={**os.environ, "SWEEPCTL_RUNS_DIR": _shown(runs_dir.resolve())},
        stdout=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_ready(f"{address}/_stcore/health", process)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def browser() -> Iterator[Browser]:
    """Headless Chromium, the system's own."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        sys.exit(f"no browser: install one of {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=list(BROWSER_ARGS))
        try:
            yield chromium
        finally:
            chromium.close()


def settle(page: Page, pause_ms: int = 500) -> None:
    """Waits until the script has run, nothing is stale or still to come, and figures are drawn.

    All of that for `pause_ms`: tables draw themselves a frame or two later, and a page may run once more, as
    when it corrects its address.
    """
    page.wait_for_selector("h1", timeout=SETTLED_TIMEOUT_MS)
    page.evaluate("window.settledSince = null")
    page.wait_for_function(
        """pause => {
            const app = document.querySelector('[data-testid="stApp"]');
            const charts = [...document.querySelectorAll('[data-testid="stPlotlyChart"]')];
            const settled = app.dataset.testScriptState === 'notRunning'
                && !document.querySelector('[data-testid="stSkeleton"], [data-stale="true"]')
                && charts.every(chart => chart.querySelector('.main-svg'));
            window.settledSince = settled ? window.settledSince ?? performance.now() : null;
            return settled && performance.now() - window.settledSince >= pause;
        }""",
        arg=pause_ms,
        timeout=SETTLED_TIMEOUT_MS,
    )


def save_whole_page(page: Page, picture: Path) -> None:
    """A picture as high as the page's content, which scrolls in a frame of its own."""
    height = page.evaluate("""() => document.querySelector('[data-testid="stMain"]').scrollHeight""")
    page.set_viewport_size({"width": WIDTH, "height": max(900, height)})
    settle(page)
    page.screenshot(path=picture)
    page.set_viewport_size({"width": WIDTH, "height": 900})


def _wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"the dashboard ended with code {process.returncode} before it answered")
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    sys.exit(f"the dashboard did not answer within {READY_TIMEOUT_S:.0f} s")


if __name__ == "__main__":
    main()
