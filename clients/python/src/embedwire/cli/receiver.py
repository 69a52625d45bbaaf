"""Receiver of the events of a call or a run: they go to a sink, failures to stderr as well."""

import dataclasses
from typing import Protocol

from rich.text import Text

from embedwire.cli import exit_codes, failures
from embedwire.cli.given import InputArgument
from embedwire.cli.progress import ProgressDisplay
from embedwire.cli.terminal import print_labelled, printable
from embedwire.errors import EmbedwireError
from embedwire.options import is_utf8
from embedwire.results import Event, Progress, Result, Segment


@dataclasses.dataclass(slots=True)
class Pending:
    """An input without a result.

    Attributes:
        given: the input.
        segments: number of segments received.
        task_id: identifier of its task; empty if it has none.
    """

    given: InputArgument
    segments: int = 0
    task_id: str = ""


@dataclasses.dataclass
class Outcome:
    """Outcome of a call or a run.

    Attributes:
        inputs: number of inputs.
        embedded: number of inputs that were embedded.
        pending: the inputs without a result, by index. At the end, their segments are invalid.
        error: failure of the whole call, or of its only input; None if there is none.
        codes: exit codes of all failures.
    """

    inputs: int = 0
    embedded: int = 0
    pending: dict[int, Pending] = dataclasses.field(default_factory=dict)
    error: EmbedwireError | None = None
    codes: set[int] = dataclasses.field(default_factory=set)

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        return exit_codes.combined(self.codes)


class EventSink(Protocol):
    """Output of events, as they arrive."""

    def segment(self, segment: Segment, given: InputArgument) -> None:
        """Handle a segment; it is provisional until the result of its input."""

    def result(self, result: Result, pending: Pending) -> None:
        """Handle the result of an input."""

    def end(self, outcome: Outcome) -> None:
        """Handle the end of the call; there may be inputs without a result."""


class Receiver:
    """Receiver of the events of one command.

    Args:
        sink: output of the events.
        display: the progress display.

    Attributes:
        outcome: the outcome.
    """

    def __init__(self, sink: EventSink, display: ProgressDisplay) -> None:
        self.outcome = Outcome()
        self._sink = sink
        self._display = display

    def expect(self, given: InputArgument) -> None:
        """Add an input that is going to be sent. Called from any thread."""
        self.outcome.pending[self.outcome.inputs] = Pending(given)
        self.outcome.inputs += 1

    def receive(self, event: Event) -> None:
        """Pass an event to the sink; print the failure of an input, and its task."""
        if isinstance(event, Progress):
            self.progress(event)
            return
        self._display.add_event(event)
        pending = self.outcome.pending[event.input_index]
        if isinstance(event, Segment):
            pending.segments += 1
            self._sink.segment(event, pending.given)
            return
        self._sink.result(event, pending)
        del self.outcome.pending[event.input_index]
        self.outcome.embedded += event.failure is None
        if event.failure is not None:
            failure = event.failure
            if pending.given.line and not is_utf8(pending.given.value):
                failure = dataclasses.replace(failure, message="the line is not UTF-8", violations=())
            error = failure.error(event.request_id, event.attempts)
            self._report(error, f"input {event.input_index}, {pending.given.label}")

    def progress(self, event: Progress) -> None:
        """Show the progress of an input; print its task, with which the result can be had later. From any thread."""
        self._display.add_progress(event)
        pending = self.outcome.pending[event.input_index]
        if event.upstream_task_id and event.upstream_task_id != pending.task_id and not pending.given.is_task:
            pending.task_id = event.upstream_task_id
            note = f"{pending.given.label} is task {printable(event.upstream_task_id)} of the upstream"
            print_labelled(self._display.messages, Text("note:"), Text(note))

    def end(self, error: EmbedwireError | None = None) -> None:
        """End the output; print the failure of the call."""
        self.outcome.error = error
        self._sink.end(self.outcome)
        if error is not None:
            is_only = self.outcome.inputs == 1 and self.outcome.pending
            self._report(error, self.outcome.pending[0].given.label if is_only else "")

    def _report(self, error: EmbedwireError, name: str) -> None:
        self.outcome.codes.add(exit_codes.for_failure(error.failure))
        failures.report(error, name, self._display.messages)
