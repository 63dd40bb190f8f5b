"""Checks of a machine and of a run's records; each finding says what to do about it."""
