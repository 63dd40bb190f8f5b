"""A display whose loss stops nothing: the terminal was closed, or whoever read the output has gone."""

from typing import Self

from sweepctl.watching.display import Display
from sweepctl.watching.progress import SweepProgress


class UnbreakableDisplay:
    """Shows as `display` does until that fails, and nothing from then on. The files have everything."""

    def __init__(self, display: Display) -> None:
        self._display: Display | None = display

    def __enter__(self) -> Self:
        if self._display is not None:
            self._display.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._display is not None:
                self._display.__exit__(*error)
        except OSError:
            self._display = None

    def say(self, message: str) -> None:
        """Print something that stays."""
        try:
            if self._display is not None:
                self._display.say(message)
        except OSError:
            self._display = None

    def show(self, progress: SweepProgress) -> None:
        """Show how far everything is."""
        try:
            if self._display is not None:
                self._display.show(progress)
        except OSError:
            self._display = None
