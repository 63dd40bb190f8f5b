"""A point of a sweep: one combination of its values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl.expansion.checks import configured
from sweepctl.expansion.space import Rows, Space, value_of
from sweepctl.spec.keys import defaults, nest
from sweepctl.spec.settings import Flat
from trainer.config import RunConfig


class Point:
    """One combination of the sweep.

    Its name, its tags and whether it is feasible are known from the start. Its settings and its configuration
    are made when they are first asked for: about 5 and 100 microseconds, and some kilobytes.
    """

    __slots__ = ("_config", "_rows", "_settings", "_space", "reason", "run_name", "tags")

    def __init__(
        self, run_name: str, reason: str | None, tags: tuple[str, ...], space: Space, rows: Rows
    ) -> None:
        self.run_name = run_name
        self.reason = reason
        """Why it is infeasible; None when it is not."""
        self.tags = tags
        self._space = space
        self._rows = rows
        self._settings: Flat | None = None
        self._config: RunConfig | None = None

    def __repr__(self) -> str:
        return f"Point({self.run_name})"

    @property
    def settings(self) -> Flat:
        """What the spec sets at this point, merged; lazy."""
        if self._settings is None:
            self._settings = self._space.settings(self._rows)
        return self._settings

    @property
    def config(self) -> RunConfig | None:
        """The configuration of its run, None when it is infeasible; lazy."""
        if self._config is None and self.reason is None:
            self._config = configured(self.settings)
        return self._config

    def value(self, key: str) -> Any:  # noqa: ANN401 - any value of a configuration
        """The value of a dotted key, its default where the spec does not give it."""
        return value_of(self.settings, key)

    def values(self) -> dict[str, Any]:
        """The configuration as it goes into `sweep.json`: complete when feasible."""
        if self.config is not None:
            return self.config.model_dump(mode="json")
        given = {key: leaf.value for key, leaf in self.settings.items()}
        return nest({**defaults(), **given})


@dataclass(frozen=True)
class Expansion:
    """All points of a sweep, and what should be said about them."""

    points: Sequence[Point]
    notes: tuple[str, ...]
