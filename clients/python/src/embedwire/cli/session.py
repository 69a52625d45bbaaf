"""The call of `embed` and `plot`, built from their common options."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from embedwire.cli import terminal
from embedwire.cli.call import EventSink, Outcome, Request, open_client, run_call
from embedwire.cli.inputs import CutEnd, InputArgument, InputOpener
from embedwire.cli.progress import ProgressDisplay


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The call of one command.

    Attributes:
        given: the inputs.
        start_offset: start offset of audio, in seconds.
        truncate: truncation of texts.
        model: name of the model.
        timeout: deadline of the call, in seconds.
        max_retries: as in `CallOptions`.
        target: address of the server.
        tls: whether to use TLS.
        tls_ca: trusted roots; implies TLS.
        token: bearer token for the server.
    """

    given: Sequence[InputArgument]
    start_offset: float | None
    truncate: CutEnd | None
    model: str
    timeout: float | None
    max_retries: int | None
    target: str
    tls: bool
    tls_ca: Path | None
    token: str | None = dataclasses.field(repr=False)

    def run(self, sink: EventSink, screen: terminal.Screen) -> Outcome:
        """Make the call, with its progress below the output.

        Raises:
            BadParameter: an option is invalid.
        """
        with contextlib.ExitStack() as stack:
            display = ProgressDisplay(terminal.progress(screen), is_brief=terminal.is_piped())
            opener = InputOpener(stack, display.add_chunk, self.truncate, self.start_offset)
            request = Request(self.model, opener.inputs(self.given), self.names, self.max_retries)
            display.set_totals(len(self.given), opener.files, opener.bytes)
            client = stack.enter_context(
                open_client(self.target, self.tls_ca, self.token, self.timeout, tls=self.tls),
            )
            with display:
                return run_call(client, request, sink, display)

    @property
    def names(self) -> list[str]:
        """Display name of each input."""
        return [each.name for each in self.given]
