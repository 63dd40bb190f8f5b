"""Weights & Biases: a W&B run for each run, grouped by sweep.

Where it goes is W&B's own to say: `WANDB_PROJECT` (default `sweepctl`), `WANDB_ENTITY`, `WANDB_MODE=offline`.
Numbers, names and configuration are sent, and nothing of the code or the machine. History there is
append-only: steps that a resumed run did again keep what was sent first.
"""

import os

from sweepctl.mirrors.points import Point
from sweepctl.mirrors.protocol import MirroredRun, MirrorError
from trainer.records import RunState

_X = "policy_version"


class WeightsAndBiases:
    """One W&B run."""

    def open(self, run: MirroredRun) -> int | None:
        """Make the W&B run, or go on with it."""
        import wandb  # noqa: PLC0415 - slow to import, and may not be installed

        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            x_transaction_log_flush_interval=1.0,  # what is not in its file is lost when we are killed
        )
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or "sweepctl",
                id=run.identity,
                resume="allow",
                name=run.file.run_name,
                group=run.file.sweep,
                tags=run.file.tags,
                config=run.settings,
                dir=run.folder,
                settings=settings,
            )
        except wandb.Error as error:
            raise MirrorError(
                f"Weights & Biases does not take the run: {error}; log in with `wandb login`, or set "
                "WANDB_MODE=offline and send it later with `wandb sync`"
            ) from error
        # W&B's own counter must only grow, and an evaluation may come after it has.
        self._run.define_metric(_X)
        self._run.define_metric("*", step_metric=_X)
        last = self._run.summary.get(_X)  # type: ignore[no-untyped-call] # wandb's
        return None if last is None else int(last)

    def log(self, point: Point) -> None:
        """One row of history."""
        self._run.log({_X: point.step, **point.metrics})

    def rewind(self, step: int) -> bool:
        """Never: what was sent stays."""
        return False

    def close(self, state: RunState) -> None:
        """Upload what is left; anything but success ends the W&B run as failed."""
        self._run.summary["state"] = state.value
        self._run.finish(exit_code=0 if state is RunState.SUCCEEDED else 1)
