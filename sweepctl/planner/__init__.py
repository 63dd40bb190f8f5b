"""Before a sweep is run: what each of its settings will do, and afterwards how right that was."""

PILOT_STEPS = 6
"""Enough that the first, which pays for what is done once, is not much of it."""
