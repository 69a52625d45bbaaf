"""One call of `Client.stream`, or one run of `Client.map`."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from embedwire import models
from embedwire.cli.receiver import Receiver
from embedwire.client import Client
from embedwire.connection import TLS
from embedwire.errors import EmbedwireError, Failure, FieldViolation, GatewayError
from embedwire.inputs import Input
from embedwire.map import failures
from embedwire.map.batches import Item
from embedwire.requests import normalize_inputs

MAX_INPUTS = 256  # of one call
_READ_ONCE = "its content could be read only once, for a call that was rejected because of other inputs; embed it alone"

# Options for the arguments of Client in its messages.
_HINTS = {"token": "EMBEDWIRE_TOKEN", "tls": "--tls-ca"}
_OPTIONS = {
    "pass tls=True": "pass --tls",
    "use the argument tls for TLS": "use --tls for TLS",
    "root_certificates must be PEM": "must be a file with certificates in PEM form (BEGIN CERTIFICATE)",
}

Reopen = Callable[[int], Input | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """Arguments of a call or a run.

    Attributes:
        model: name of the model.
        max_retries: as in `CallOptions`.
        dimensions: as in `CallOptions`.
        uncertainty: `include_uncertainty` of `CallOptions`.
    """

    model: str
    max_retries: int | None
    dimensions: int | None = None
    uncertainty: bool = False

    @property
    def arguments(self) -> Any:  # noqa: ANN401 - arguments of both `CallOptions` and `MapOptions`
        """The arguments of the call or the run."""
        return {
            "max_retries": self.max_retries,
            "dimensions": self.dimensions,
            "include_uncertainty": self.uncertainty,
        }


def run_call(client: Client, options: Options, inputs: Sequence[Input], receiver: Receiver, reopen: Reopen) -> None:
    """Make one call, and pass every event and the failure of the call to the receiver.

    The server rejects a call with an invalid input. That input fails, and the others are sent in another call.

    Args:
        client: the client.
        options: arguments of the call.
        inputs: the inputs.
        receiver: receives the events.
        reopen: returns an input with unread content, by its index; None if its content can be read only once.
    """
    items = [Item(index, each, 0.0, MAX_INPUTS) for index, each in enumerate(normalize_inputs(inputs))]
    while items:
        error = _run_once(client, options, items, receiver)
        rejected = {} if len(inputs) == 1 else _rejected(error, items)
        if error is None or not rejected:
            receiver.end(error)
            return
        for index, failure in rejected.items():
            receiver.receive(failures.failed(items[index], failure, error.request_id).result)
        items = list(_again((item for index, item in enumerate(items) if index not in rejected), reopen, receiver))
    receiver.end()


def _run_once(client: Client, options: Options, items: Sequence[Item], receiver: Receiver) -> EmbedwireError | None:
    """Make one call with these inputs, and return its failure."""
    try:
        with client.stream(options.model, [item.input for item in items], **options.arguments) as events:
            for event in events:
                receiver.receive(dataclasses.replace(event, input_index=items[event.input_index].position))
            _check_complete(receiver, events.request_id)
    except EmbedwireError as error:
        return error
    return None


def _rejected(error: EmbedwireError | None, items: Sequence[Item]) -> dict[int, Failure]:
    """Return the failures of the inputs because of which the server rejected the call, by index in the call.

    There are none if it rejected the call for another reason, which would also fail a call with the other inputs, or
    after it had begun inputs: a second call would embed and bill them again.
    """
    if error is None or error.reason != "INVALID_REQUEST":
        return {}
    named = failures.by_input(error.failure, items)
    is_only_of_inputs = all(
        violation.field.removeprefix("request.").startswith("inputs[") or not violation.field
        for violation in error.violations
    )
    return named if is_only_of_inputs else {}


def _again(items: Iterable[Item], reopen: Reopen, receiver: Receiver) -> Iterator[Item]:
    """Yield the items for another call; an input whose content can be read only once fails."""
    for item in items:
        reopened = reopen(item.position)
        if reopened is not None:
            yield from [Item(item.position, each, 0.0, MAX_INPUTS) for each in normalize_inputs(reopened)]
            continue
        violation = FieldViolation(f"inputs[{item.position}]", _READ_ONCE)
        failure = Failure("INVALID_ARGUMENT", "INVALID_REQUEST", f"{violation.field}: {_READ_ONCE}", (violation,))
        receiver.receive(failures.failed(item, failure).result)


def run_map(client: Client, options: Options, inputs: Iterable[Input], receiver: Receiver) -> None:
    """Make as many calls as the inputs need, and pass the events of each input to the receiver when it has ended.

    Raises:
        EmbedwireError: the server cannot be reached, rejects the client or lacks the model, before any input is read.
        Exception: what the iterable raised, after the inputs before it.
    """
    models.find(client.models(), options.model)  # one failure, not one for each input
    with client.map(options.model, inputs, on_progress=receiver.progress, **options.arguments) as embeddings:
        for embedding in embeddings:
            for segment in embedding.segments:
                receiver.receive(segment)
            receiver.receive(embedding.result)
    receiver.end()


def _check_complete(receiver: Receiver, request_id: str) -> None:
    """Check that every input has a result.

    Raises:
        GatewayError: an input has no result although the call succeeded, which the contract forbids.
    """
    for index in receiver.outcome.pending:
        message = f"the server ended the call without a result for inputs[{index}]"
        raise GatewayError(Failure("INTERNAL", "INTERNAL", message), request_id)


@contextlib.contextmanager
def open_client(  # noqa: PLR0913 - the arguments of `Client`
    target: str,
    ca: Path | None,
    token: str | None,
    timeout: float | None,
    *,
    tls: bool,
    channel_options: Sequence[tuple[str, int]] = (),
) -> Iterator[Client]:
    """Open a client for one command. The arguments are those of `Client`.

    Raises:
        BadParameter: an argument of the client is invalid.
    """
    chosen = TLS(ca.read_bytes()) if ca is not None else tls
    try:
        client = Client(target, tls=chosen, token=token, timeout=timeout, channel_options=channel_options)
    except ValueError as error:
        name, _, fault = str(error).partition(": ")
        for argument, option in _OPTIONS.items():
            fault = fault.replace(argument, option)
        raise typer.BadParameter(fault, param_hint=_HINTS.get(name, f"--{name}")) from None
    with client:
        yield client
