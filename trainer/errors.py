"""Errors a user can do something about. Each message says what was found, where, and what to do next."""


class SweepctlError(Exception):
    """Base of every expected error: shown as one message, never as a traceback."""


class ConfigError(SweepctlError):
    """A configuration, specification or data file is wrong (exit code 2)."""


class EngineError(SweepctlError):
    """The rollout engine did not start, died, hung, or holds weights it should not."""


class TrainingError(SweepctlError):
    """A run cannot go on: a non-finite loss, no useful groups, an exhausted task."""


class StorageError(SweepctlError):
    """A run's files cannot be written: a full disk, a folder without permission."""


class InUseError(SweepctlError):
    """Another process is at work on the same run."""
