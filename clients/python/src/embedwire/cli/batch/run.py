"""The run or the plan of `embedwire batch`; it needs the extra `embedwire[batch]`."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import typer

from embedwire.batch import Batch, BatchError, BatchOptions, OutputMismatchError, Progress, Summary
from embedwire.cli import audio, failures, output, terminal
from embedwire.cli.audio import AudioOptions
from embedwire.cli.batch import summary as summaries
from embedwire.cli.batch.display import BatchDisplay
from embedwire.cli.batch.log import BatchLog
from embedwire.cli.batch.signals import StopSignals
from embedwire.cli.batch.sources import SourceOptions, UnreadableError
from embedwire.cli.call import open_client
from embedwire.cli.given import CutEnd
from embedwire.client import Client
from embedwire.errors import EmbedwireError
from embedwire.inputs import AnyInput, Audio, Text

# By default gRPC waits up to 2 minutes between attempts to reconnect, longer than the pauses of a batch in an outage.
_CHANNEL_OPTIONS = (("grpc.max_reconnect_backoff_ms", 10_000),)

_FLAGS = {  # of the settings of an output
    "model": "--model",
    "dimensions": "--dimensions",
    "format": "--format",
    "include_uncertainty": "--uncertainty",
    "truncate": "--truncate",
    **audio.FLAGS,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The server of a command.

    Attributes:
        target: address of the server.
        tls: whether to use TLS.
        tls_ca: trusted roots; implies TLS.
        token: bearer token for the server.
        timeout: deadline of each call, in seconds.
    """

    target: str
    tls: bool
    tls_ca: Path | None
    token: str | None = dataclasses.field(repr=False)
    timeout: float | None

    def open(self) -> contextlib.AbstractContextManager[Client]:
        """Open a client.

        Raises:
            BadParameter: an argument of the client is invalid.
        """
        given = (self.target, self.tls_ca, self.token, self.timeout)
        return open_client(*given, tls=self.tls, channel_options=_CHANNEL_OPTIONS)


@dataclasses.dataclass(frozen=True, slots=True)
class Preparation:
    """The options of inputs of a command.

    Attributes:
        truncate: truncation of texts.
        audio: options of audio.
    """

    truncate: CutEnd | None
    audio: AudioOptions

    def __call__(self, given: AnyInput) -> AnyInput:
        """Return an input with the options of its kind; its own options, of a row of a table, take precedence."""
        if isinstance(given, Text):
            return _with(given, {"truncate": self._truncate})
        return _with(given, self.audio.arguments) if isinstance(given, Audio) else given

    @property
    def settings(self) -> dict[str, str]:
        """All options as text: vectors with other options do not belong into the same output."""
        return {name: str(value) if _is_given(value) else "" for name, value in self._all.items()}

    @property
    def _all(self) -> dict[str, Any]:
        return {"truncate": self._truncate} | self.audio.arguments

    @property
    def _truncate(self) -> str | None:
        return None if self.truncate is None else str(self.truncate)


def _with(given: AnyInput, arguments: Mapping[str, Any]) -> AnyInput:
    missing = {
        name: value for name, value in arguments.items() if _is_given(value) and not _is_given(getattr(given, name))
    }
    return dataclasses.replace(given, **missing)


def _is_given(value: object) -> bool:
    return value not in (None, (), [])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The batch of one command.

    Attributes:
        sources: the sources.
        connection: the server.
        model: name of the model.
        folder: folder of the output.
        options: the options of the batch that are given.
        interval: seconds between the lines of progress, without a terminal.
    """

    sources: SourceOptions
    connection: Connection
    model: str
    folder: Path
    options: dict[str, Any]
    interval: float

    def run(self) -> NoReturn:
        """Embed the sources, show the progress and the summary, and exit.

        Raises:
            Exit: always, with the exit code.
        """
        with batch_exit_codes(), contextlib.ExitStack() as stack:
            self.sources.check_output(self.folder)
            source = self.sources.open()
            client = stack.enter_context(self.connection.open())
            batch = Batch(client, self.model, source, self.folder, BatchOptions(**self.options))
            summary, stopped = self._embed(batch)
            code = summaries.exit_code(summary, stopped)
            summaries.print_summary(terminal.rows(), summary, self.folder, code)
            if summary.error is not None and not stopped:
                failures.report(summary.error)
            raise typer.Exit(code)

    def _embed(self, batch: Batch) -> tuple[Summary, int]:
        """Return the summary, and the exit code of a signal or 0."""
        reporter = _reporter(lambda: batch.progress, self.interval)

        def stop() -> None:
            batch.stop()
            reporter.stopping()

        with reporter, StopSignals(stop) as signals:
            return batch.run(), signals.exit_code


def _reporter(read: Callable[[], Progress], interval: float) -> BatchDisplay | BatchLog:
    console = terminal.progress(terminal.rows())
    return BatchLog(read, interval) if console is None else BatchDisplay(console, read)


@contextlib.contextmanager
def batch_exit_codes() -> Iterator[None]:
    """Convert the exceptions of a batch: an unreadable source is a fault of the command, any other file the output.

    Raises:
        Exit: with the exit code.
        BadParameter: the output cannot be used.
    """
    with failures.exit_codes_for_exceptions():
        try:
            yield
        except OutputMismatchError as error:
            if (flag := _FLAGS.get(error.setting)) is None:
                raise typer.BadParameter(str(error), param_hint="--output") from None
            raise typer.BadParameter(str(error).removeprefix(f"{error.setting}: "), param_hint=flag) from None
        except BatchError as error:
            raise typer.BadParameter(str(error), param_hint="--output") from None
        except (EmbedwireError, UnreadableError, output.OutputError, BrokenPipeError):  # some are an OSError as well
            raise
        except OSError as error:
            raise output.OutputError(error.errno, error.strerror or str(error), error.filename) from error
