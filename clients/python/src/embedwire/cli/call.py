"""One call of `Client.stream`, or one run of `Client.map`."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import typer

from embedwire.cli.receiver import Receiver
from embedwire.client import Client
from embedwire.connection import TLS
from embedwire.errors import EmbedwireError, Failure, GatewayError
from embedwire.inputs import Input

MAX_INPUTS = 256  # of one call


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """Arguments of a call or a run.

    Attributes:
        model: name of the model.
        max_retries: as in `CallOptions`.
    """

    model: str
    max_retries: int | None


def run_call(client: Client, options: Options, inputs: Sequence[Input], receiver: Receiver) -> None:
    """Make one call, and pass every event and the failure of the call to the receiver."""
    error: EmbedwireError | None = None
    try:
        with client.stream(options.model, inputs, max_retries=options.max_retries) as events:
            for event in events:
                receiver.receive(event)
            _check_complete(receiver, events.request_id)
    except EmbedwireError as raised:
        error = raised
    receiver.end(error)


def run_map(client: Client, options: Options, inputs: Iterable[Input], receiver: Receiver) -> None:
    """Make as many calls as the inputs need, and pass the events of each input to the receiver when it has ended.

    Raises:
        EmbedwireError: the server cannot be reached or rejects the client, before any input is read.
        Exception: what the iterable raised, after the inputs before it.
    """
    client.models()  # a server that cannot be reached is one failure, not one for each input
    with client.map(options.model, inputs, max_retries=options.max_retries) as embeddings:
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
