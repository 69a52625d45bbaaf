"""Errors of a batch."""


class BatchError(ValueError):
    """A batch cannot run with this output or this source; the message states what to do."""


class OutputInUseError(BatchError):
    """Another process writes to the output."""


class OutputMismatchError(BatchError):
    """The output was written with other settings or is damaged.

    Attributes:
        setting: name of the option with another value; empty if another fault is meant.
    """

    def __init__(self, message: str, *, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting
