"""Learning curves by arm: reward in training, and accuracy on held-out problems."""

import pandas as pd
import streamlit as st

from dashboard.choice import choose_one
from dashboard.data import View
from dashboard.page.step_times import why_no_steps
from dashboard.shown import show_figure
from results.figures.colours import arm_styles
from results.figures.quality import training_curves
from results.figures.thinning import MOST_POINTS, thinned_by_run
from results.tables.curves import X_AXES, first_seeds, held_out_curves_table

_MOST_DOTS = 200
"""Of one run."""
_WINDOWS = ("1", "5", "10", "20")
_NUMBERS = ["label", "run_name", "runs", "seeds", *X_AXES, "mean", "low", "high"]


def show_curves(view: View) -> None:
    """Draws both figures with their choices."""
    st.subheader("Learning curves")
    if not (view.experiments["steps_done"] > 0).any():
        st.info(why_no_steps(view))
        return
    runs = _first_seeds(view)
    with st.container(horizontal=True):
        x = choose_one("Reward against", list(X_AXES), "x")
        window = int(
            str(
                st.segmented_control(
                    "Smoothing (steps)",
                    _WINDOWS,
                    default="10",
                    required=True,
                    key="window",
                    bind="query-params",
                    help="trailing mean of so many steps; 1: as they are",
                )
            )
        )
    curves = view.reward_curves(runs, window)
    _rewards(view, curves, x, window)
    _held_out(view, runs, x)


def _first_seeds(view: View) -> tuple[str, ...]:
    """The runs read. Says so where these are not all."""
    runs, left_out = first_seeds(view.experiments)
    if left_out:
        st.info(f"{left_out}; the filter in the sidebar chooses others.", icon=":material/filter_alt:")
    return tuple(runs)


def _rewards(view: View, curves: pd.DataFrame, x: str, window: int) -> None:
    drawn = thinned_by_run(curves, "mean")
    single = curves[curves["runs"] == 1] if window > 1 else curves.iloc[:0]
    dots = thinned_by_run(single, "reward_mean", _MOST_DOTS)
    words = "Mean reward in training, groups filtered for equal rewards included. "
    words += f"Lines: trailing mean of {window} steps. " if window > 1 else "Lines: single steps. "
    if len(dots):
        words += "Dots: single steps" + (f", {_thinned(len(single))}. " if len(dots) < len(single) else ". ")
    if len(drawn) < len(curves):
        words += f"Lines of more than {MOST_POINTS:,} points: {_thinned(len(curves))}. "
    show_figure(
        view,
        "learning-curves",
        training_curves(drawn, dots, arm_styles(view.report.experiments), x, (X_AXES[x], "mean reward")),
        curves[[*_NUMBERS, "reward_mean"]],
        words + _seeds_words(curves),
        title=f"mean reward in training against {X_AXES[x]}",
    )


def _held_out(view: View, runs: tuple[str, ...], x: str) -> None:
    """Accuracy on held-out problems, where runs were evaluated on them while they trained."""
    curves = held_out_curves_table(view.store, view.sweep, runs)
    if curves.empty:
        return
    st.subheader("Held-out accuracy during training")
    asked = sorted(curves["problems"].unique())
    problems = " or ".join(f"{count:,}" for count in asked)
    show_figure(
        view,
        "held-out-accuracy",
        training_curves(
            thinned_by_run(curves, "mean"),
            curves.iloc[:0],
            arm_styles(view.report.experiments),
            x,
            (X_AXES[x], "held-out accuracy"),
        ),
        curves[[*_NUMBERS, "problems"]],
        f"Mean reward of greedy answers to {problems} held-out problems, as the trainer measured it between "
        f"steps; not lm-eval's. " + _seeds_words(curves),
        title=f"held-out accuracy against {X_AXES[x]}",
    )


def _seeds_words(curves: pd.DataFrame) -> str:
    if (curves["runs"] == 1).all():
        return ""
    return (
        "Arms with several seeds: mean of the seeds that have come so far, band from the least to the "
        "greatest of them. It describes these seeds and is no confidence interval."
    )


def _thinned(count: int) -> str:
    return f"of {count:,} those with the extremes of each stretch"
