"""The dashboard: `streamlit run dashboard/app.py`.

Streamlit reads this file twice. Imported, it is the server: with every page loaded once, before the first
browser comes, and with the newest sweep's report on its way. Run as a script, it draws the page that a
browser asks for.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread

import streamlit as st


@asynccontextmanager
async def _serving(_: st.App) -> AsyncIterator[None]:
    """Computes while the browser is still loading its scripts."""
    from dashboard import main, warm  # noqa: F401, PLC0415 - Streamlit's caches have their runtime only now

    Thread(target=warm.warm_up, name="warm-up", daemon=True).start()
    yield


if __name__ == "__main__":
    from dashboard.main import main

    main()
else:
    app = st.App(__file__, lifespan=_serving)
