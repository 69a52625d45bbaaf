"""The upstream's task of a call, as known from the progress of its input."""

from embedwire.results import Event, Progress


class LastTask:
    """The last task of the only input of a call. A call that ends at the client has no other source of it.

    Args:
        inputs: number of inputs of the call. Among several inputs, no task is that of the call.

    Attributes:
        id: identifier of the task; empty if there is none.
    """

    def __init__(self, inputs: int) -> None:
        self.id = ""
        self._is_noted = inputs == 1

    def note(self, event: Event) -> None:
        """Note the task of an event."""
        if self._is_noted and isinstance(event, Progress) and event.upstream_task_id:
            self.id = event.upstream_task_id
