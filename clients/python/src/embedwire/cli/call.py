"""One call of `Client.stream`: its events go to a sink, its failures into an `Outcome`."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import typer

from embedwire.cli import exit_codes
from embedwire.cli.progress import ProgressDisplay
from embedwire.client import Client
from embedwire.connection import TLS
from embedwire.errors import EmbedwireError, Failure, GatewayError
from embedwire.inputs import Input
from embedwire.results import Event, Result, Segment


@dataclasses.dataclass
class Outcome:
    """Outcome of a call.

    Attributes:
        names: display name of each input.
        segments: number of segments received for each input.
        results: result of each input; None if none was received.
        error: failure of the whole call, or of its only input; None if there is none.
    """

    names: Sequence[str]
    segments: list[int]
    results: list[Result | None]
    error: EmbedwireError | None = None

    @property
    def unanswered(self) -> list[int]:
        """Indices of the inputs without a result; their segments are invalid."""
        return [index for index, result in enumerate(self.results) if result is None]

    @property
    def failed(self) -> list[tuple[int, EmbedwireError]]:
        """Index and exception of each input whose result is a failure."""
        return [
            (index, result.failure.error(result.request_id, result.attempts))
            for index, result in enumerate(self.results)
            if result is not None and result.failure is not None
        ]

    @property
    def exit_code(self) -> int:
        """The exit code of the command."""
        errors = [error for _, error in self.failed] + ([self.error] if self.error else [])
        return exit_codes.for_failures(error.failure for error in errors)

    def record(self, event: Event) -> None:
        """Record an event."""
        if isinstance(event, Segment):
            self.segments[event.input_index] += 1
        else:
            self.results[event.input_index] = event


class EventSink(Protocol):
    """Receiver of the events of a call, as they arrive."""

    def segment(self, segment: Segment) -> None:
        """Handle a segment; it is provisional until the result of its input."""

    def result(self, result: Result, outcome: Outcome) -> None:
        """Handle the result of an input."""

    def end(self, outcome: Outcome) -> None:
        """Handle the end of the call; there may be inputs without a result."""


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """Arguments of a call.

    Attributes:
        model: name of the model.
        inputs: the inputs.
        names: display name of each input.
        max_retries: as in `CallOptions`.
    """

    model: str
    inputs: Sequence[Input]
    names: Sequence[str]
    max_retries: int | None


def run_call(client: Client, request: Request, sink: EventSink, display: ProgressDisplay) -> Outcome:
    """Make the call and pass every event to the sink. A failure of the call is returned in the outcome."""
    size = len(request.inputs)
    outcome = Outcome(request.names, [0] * size, [None] * size)
    try:
        with client.stream(request.model, request.inputs, max_retries=request.max_retries) as events:
            for event in events:
                _dispatch(event, outcome, sink, display)
            _check_complete(outcome, events.request_id)
    except EmbedwireError as error:
        outcome.error = error
    sink.end(outcome)
    return outcome


def _dispatch(event: Event, outcome: Outcome, sink: EventSink, display: ProgressDisplay) -> None:
    outcome.record(event)
    display.add_event(event)
    if isinstance(event, Segment):
        sink.segment(event)
    else:
        sink.result(event, outcome)


def _check_complete(outcome: Outcome, request_id: str) -> None:
    """Check that every input has a result.

    Raises:
        GatewayError: an input has no result although the call succeeded, which the contract forbids.
    """
    if outcome.unanswered:
        message = f"the server ended the call without a result for inputs[{outcome.unanswered[0]}]"
        raise GatewayError(Failure("INTERNAL", "INTERNAL", message), request_id)


@contextlib.contextmanager
def open_client(
    target: str, ca: Path | None, token: str | None, timeout: float | None, *, tls: bool
) -> Iterator[Client]:
    """Open a client for one command.

    Raises:
        BadParameter: an argument of the client is invalid.
    """
    chosen = TLS(ca.read_bytes()) if ca is not None else tls
    try:
        client = Client(target, tls=chosen, token=token, timeout=timeout)
    except ValueError as error:
        name, _, fault = str(error).partition(": ")
        hint = "EMBEDWIRE_TOKEN" if name == "token" else f"--{name}"
        raise typer.BadParameter(fault.replace("pass tls=True", "pass --tls"), param_hint=hint) from None
    with client:
        yield client
