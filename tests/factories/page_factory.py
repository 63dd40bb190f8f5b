"""One page of the dashboard by itself, without the app around it."""

from collections.abc import Sequence
from pathlib import Path

from streamlit.testing.v1 import AppTest


def _script(module, runs_dir, sweep, left):
    """What the app runs: AppTest takes this function's source, so what it needs is imported in it."""
    import importlib
    from pathlib import Path

    from dashboard.data import View, load_report
    from results.store import Store

    mtime = Store(Path(runs_dir)).mtime
    runs = load_report(Path(runs_dir), mtime, sweep).experiments["run_name"] if left is None else left
    importlib.import_module(f"dashboard.page.{module}").show(View(Path(runs_dir), mtime, sweep, tuple(runs)))


def draw_page(
    module: str, runs_dir: Path, sweep: str = "staleness", left: Sequence[str] | None = None, **query: object
) -> AppTest:
    """A page as an address asks for it.

    Args:
        module: of `dashboard.page`, such as `quality.page`.
        runs_dir: with a store.
        sweep: to be shown.
        left: names of the runs that the filter leaves; None is all.
        query: what else the address says.
    """
    app = AppTest.from_function(
        _script,
        kwargs={
            "module": module,
            "runs_dir": str(runs_dir),
            "sweep": sweep,
            "left": None if left is None else list(left),
        },
        default_timeout=120,
    )
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app
