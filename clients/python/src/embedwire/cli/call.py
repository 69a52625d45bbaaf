"""One call of `Client.stream`: every event to who shows it, and what failed."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import typer

from embedwire.cli import exit_codes
from embedwire.cli.progress import Watch
from embedwire.client import Client
from embedwire.connection import TLS
from embedwire.errors import EmbedwireError, Failure, GatewayError
from embedwire.inputs import Input
from embedwire.results import Event, Result, Segment


@dataclasses.dataclass
class Outcome:
    """How a call ended.

    Attributes:
        names: what people call each input.
        segments: how many segments of each input came.
        results: what each input came to; None if that did not come.
        error: why the call as a whole failed; None if it did not. With one input it is the failure of that.
    """

    names: Sequence[str]
    segments: list[int]
    results: list[Result | None]
    error: EmbedwireError | None = None

    @property
    def unanswered(self) -> list[int]:
        """The inputs without a result; their segments are void."""
        return [index for index, result in enumerate(self.results) if result is None]

    @property
    def failed(self) -> list[tuple[int, EmbedwireError]]:
        """The inputs that came to a failure of their own."""
        return [
            (index, result.failure.error(result.request_id, result.attempts))
            for index, result in enumerate(self.results)
            if result is not None and result.failure is not None
        ]

    @property
    def exit_code(self) -> int:
        """The exit code for all of it."""
        errors = [error for _, error in self.failed] + ([self.error] if self.error else [])
        return exit_codes.of_all(error.failure for error in errors)

    def count(self, event: Event) -> None:
        """Take note of one event."""
        if isinstance(event, Segment):
            self.segments[event.input_index] += 1
        else:
            self.results[event.input_index] = event


class Shower(Protocol):
    """Who takes the events of a call, one by one as they come."""

    def segment(self, segment: Segment) -> None:
        """One segment; provisional until the result of its input."""

    def result(self, result: Result, outcome: Outcome) -> None:
        """The end of one input."""

    def end(self, outcome: Outcome) -> None:
        """The end of the call; there may be inputs without a result."""


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What to ask.

    Attributes:
        model: its name.
        inputs: what to embed.
        names: what people call each of them.
        max_retries: as in `CallOptions`.
    """

    model: str
    inputs: Sequence[Input]
    names: Sequence[str]
    max_retries: int | None


def follow(client: Client, request: Request, shower: Shower, watch: Watch) -> Outcome:
    """Make the call and hand on every event; a failure of the call is in what is returned."""
    size = len(request.inputs)
    outcome = Outcome(request.names, [0] * size, [None] * size)
    try:
        with client.stream(request.model, request.inputs, max_retries=request.max_retries) as events:
            for event in events:
                _take(event, outcome, shower, watch)
            _check_complete(outcome, events.request_id)
    except EmbedwireError as error:
        outcome.error = error
    shower.end(outcome)
    return outcome


def _take(event: Event, outcome: Outcome, shower: Shower, watch: Watch) -> None:
    outcome.count(event)
    watch.received(event)
    if isinstance(event, Segment):
        shower.segment(event)
    else:
        shower.result(event, outcome)


def _check_complete(outcome: Outcome, request_id: str) -> None:
    """Do not take silence for success.

    Raises:
        GatewayError: an input has no result although the call ended well, which the contract forbids.
    """
    if outcome.unanswered:
        message = f"the server ended the call without a result for inputs[{outcome.unanswered[0]}]"
        raise GatewayError(Failure("INTERNAL", "INTERNAL", message), request_id)


@contextlib.contextmanager
def connected(target: str, ca: Path | None, token: str | None, timeout: float | None, *, tls: bool) -> Iterator[Client]:
    """A client for one command.

    Raises:
        BadParameter: it cannot be made of these.
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
