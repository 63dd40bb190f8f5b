"""What the address asked for in vain: said near the top of the page, in one place for all of them.

Streamlit drops what a widget cannot make anything of, and says nothing.
"""

from collections.abc import Iterator

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.shown import escaped

_ASKED_KEY, _IGNORED_KEY = "asked", "ignored"
_MOST_CHARACTERS = 200
"""Of what an address says, which may be half a megabyte."""


def remember() -> None:
    """Keeps what the address says when a session begins, before any widget takes its part of it."""
    if _IGNORED_KEY not in st.session_state:
        st.session_state.setdefault(
            _ASKED_KEY, {name: st.query_params.get_all(name) for name in st.query_params}
        )


def say_ignored(place: DeltaGenerator) -> None:
    """What of it is not there, as long as what took its place is shown.

    Args:
        place: near the top of the page, whose widgets have all been drawn by now.
    """
    if _IGNORED_KEY not in st.session_state:
        asked = st.session_state.pop(_ASKED_KEY, {})
        st.session_state[_IGNORED_KEY] = [
            (name, value, _shown(name)) for name, values in asked.items() for value in _missing(name, values)
        ]
    ignored = [
        f"there is no {escaped(name)} {escaped(value[:_MOST_CHARACTERS])} here, shown: "
        f"{escaped(', '.join(shown)) or 'none'}"
        for name, value, shown in st.session_state[_IGNORED_KEY]
        if _shown(name) == shown
    ]
    if ignored:
        said = "; ".join(ignored)
        place.warning(
            f"The address asks for what cannot be shown: {said}. "
            "The lists in the sidebar and on this page have what there is."
        )


def _missing(name: str, values: list[str]) -> Iterator[str]:
    """Values of a parameter that no widget took."""
    shown = _shown(name)
    yield from (value for value in values if value and not any(_alike(value, other) for other in shown))


def _shown(name: str) -> list[str]:
    """What a parameter stands at: in the address, or, where that leaves a default out, in its widget."""
    if kept := st.query_params.get_all(name):
        return kept
    value = st.session_state.get(name)
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return [str(value).lower() if isinstance(value, bool) else str(value) for value in values]


def _alike(asked: str, shown: str) -> bool:
    """Also `1`, `1.0` and `1e0`."""
    if asked == shown:
        return True
    try:
        return float(asked) == float(shown)
    except ValueError:
        return False
