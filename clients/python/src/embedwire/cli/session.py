"""The call or run of `embed` and `plot`, built from their common options."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import typer
from rich.cells import cell_len
from rich.text import Text

from embedwire.cli import terminal
from embedwire.cli.audio import AudioOptions
from embedwire.cli.call import MAX_INPUTS, Options, open_client, run_call, run_map
from embedwire.cli.given import CutEnd, InputArgument
from embedwire.cli.inputs import InputBuilder
from embedwire.cli.progress import ProgressDisplay
from embedwire.cli.receiver import EventSink, Outcome, Receiver
from embedwire.cli.stdin_lines import StdinLines
from embedwire.cli.table import WIDEST_NAME
from embedwire.client import Client
from embedwire.inputs import Input

Send = Callable[[Client], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The call or run of one command.

    Attributes:
        given: the inputs.
        lines: the lines of stdin, which replace the only input; None without --lines.
        audio: options of audio.
        truncate: truncation of texts.
        model: name of the model.
        timeout: deadline of each call, in seconds.
        max_retries: as in `CallOptions`.
        dimensions: as in `CallOptions`.
        uncertainty: whether to request the uncertainty of vectors.
        target: address of the server.
        tls: whether to use TLS.
        tls_ca: trusted roots; implies TLS.
        token: bearer token for the server.
    """

    given: Sequence[InputArgument]
    lines: StdinLines | None = None
    audio: AudioOptions
    truncate: CutEnd | None
    model: str
    timeout: float | None
    max_retries: int | None
    dimensions: int | None = None
    uncertainty: bool = False
    target: str
    tls: bool
    tls_ca: Path | None
    token: str | None = dataclasses.field(repr=False)

    def run(self, sink: EventSink, screen: terminal.Screen) -> Outcome:
        """Make the call or the run, with its progress below the output.

        Raises:
            BadParameter: an option or an input is invalid.
            EmbedwireError: a run could not begin.
        """
        with contextlib.ExitStack() as stack:
            display = ProgressDisplay(self._progress(screen), is_brief=terminal.is_piped())
            builder = InputBuilder(stack, display.add_chunk, self.truncate, self.audio)
            receiver = Receiver(sink, display)
            send = self._prepare_run(builder, receiver) if self._is_run else self._prepare_call(builder, receiver)
            display.set_totals(None if self.lines else len(self.given), builder.files, builder.bytes)
            client = stack.enter_context(open_client(self.target, self.tls_ca, self.token, self.timeout, tls=self.tls))
            with display:
                send(client)
        if self.lines is not None and not receiver.outcome.inputs:
            raise typer.BadParameter("standard input has no text: nothing to embed", param_hint="--lines")
        if self.lines and self.lines.note:
            terminal.messages().print(Text(f"note: {self.lines.note}"))
        return receiver.outcome

    @property
    def name_width(self) -> int:
        """Width of the longest display name of an input."""
        return WIDEST_NAME if self.lines else max(cell_len(each.name) for each in self.given)

    @property
    def _is_run(self) -> bool:
        return self.lines is not None or len(self.given) > MAX_INPUTS

    def _progress(self, screen: terminal.Screen) -> terminal.Screen | None:
        """Return the console for progress; None while the user types the lines."""
        return None if self.lines and os.isatty(0) else terminal.progress(screen)

    def _prepare_call(self, builder: InputBuilder, receiver: Receiver) -> Send:
        inputs = builder.opened(self.given)
        for each in self.given:
            receiver.expect(each)

        def reopen(index: int) -> Input | None:
            return builder.reopened(self.given[index], inputs[index])

        return lambda client: run_call(client, self._options, inputs, receiver, reopen)

    def _prepare_run(self, builder: InputBuilder, receiver: Receiver) -> Send:
        def inputs() -> Iterator[Input]:
            for each in self.lines or self.given:
                receiver.expect(each)
                yield builder.unopened(each)

        return lambda client: run_map(client, self._options, inputs(), receiver)

    @property
    def _options(self) -> Options:
        return Options(self.model, self.max_retries, self.dimensions, self.uncertainty)
