"""Errors of a batch."""


class BatchError(ValueError):
    """A batch cannot run with this output or this source; the message states what to do."""


class OutputInUseError(BatchError):
    """Another process writes to the output."""


class OutputMismatchError(BatchError):
    """The output was written with other settings or is damaged."""
