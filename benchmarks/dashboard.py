"""How soon each page of the dashboard is there over 1,000 runs of 1,000 steps, and in how much memory.

    python benchmarks/dashboard.py                 makes up a sweep first: two minutes, 2 GB of disk
    python benchmarks/dashboard.py --runs-dir DIR  over results that are there already

The first page is opened the moment the server answers, in a browser that has none of the dashboard's scripts
yet; how long the server takes to answer is told by itself. A page has come when its script has run and its
figures are drawn. Seconds are of the clock: measure on a quiet machine.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psutil
from playwright.sync_api import Page, ViewportSize

sys.path.insert(1, str(Path(__file__).parents[1] / "tests"))  # made-up sweeps are there
sys.path.insert(1, str(Path(__file__).parents[1]))  # before it: tests/results must not hide results

from factories.large_sweep import write_large_sweep

from results.ingest import ingest
from scripts.screenshots import PAGES, WIDTH, browser, dashboard, settle

_VIEWPORT: ViewportSize = {"width": WIDTH, "height": 900}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs-dir", type=Path, help="where the results are; by default made up")
    with _runs_dir(parser.parse_args().runs_dir) as runs_dir, browser() as chromium, ExitStack() as server:
        page, other = (chromium.new_context(viewport=_VIEWPORT).new_page() for _ in range(2))
        began = time.perf_counter()
        address = server.enter_context(dashboard(runs_dir))
        _tell("server answers", time.perf_counter() - began)
        _tell(PAGES[0], _seconds(partial(_open, page, address)))
        _tell("another browser", _seconds(partial(_open, other, address)))
        other.close()
        for name in PAGES[1:]:
            _tell(name, _seconds(partial(_change, page, name)))
        for name in PAGES:
            _tell(f"{name}, again", _seconds(partial(_change, page, name)))


@contextmanager
def _runs_dir(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        write_large_sweep(Path(folder), runs=1000, steps=1000, groups_per_step=1)
        ingest(Path(folder))
        yield Path(folder)


def _open(page: Page, address: str) -> None:
    page.goto(address)
    settle(page, pause_ms=0)


def _change(page: Page, name: str) -> None:
    title = name.replace("-", " ").capitalize()
    page.locator('[data-testid="stSidebarNav"]').get_by_role("link", name=title, exact=True).click()
    page.wait_for_selector(f"h1:has-text('{title}')")
    settle(page, pause_ms=0)


def _seconds(do: Callable[[], None]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def _tell(what: str, seconds: float) -> None:
    print(f"{what:<20} {seconds:5.2f} s   server {_server_bytes() / 2**20:6.0f} MiB", flush=True)


def _server_bytes() -> int:
    """Resident memory of the dashboard that this process started."""
    children = psutil.Process().children(recursive=True)
    return max(child.memory_info().rss for child in children if "streamlit" in " ".join(child.cmdline()))


if __name__ == "__main__":
    main()
