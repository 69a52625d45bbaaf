"""Output of failures to stderr, and the exit codes of exceptions."""

import contextlib
import http
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.text import Text

from embedwire.cli import exit_codes, output
from embedwire.cli.terminal import messages, print_labelled, printable
from embedwire.errors import EmbedwireError, Failure, UpstreamReply


def report(error: EmbedwireError, name: str = "", console: Console | None = None) -> None:
    """Print one failure, with one line for each detail, to stderr or a console that shows progress."""
    failure = error.failure
    shown = console or messages()
    print_error(f"{name}: {failure}" if name else str(failure), style="red", console=shown)
    for detail in _details(failure):
        print_labelled(shown, Text(" "), Text(printable(detail)))
    if error.request_id:
        print_labelled(shown, Text(" "), Text(f"request id: {error.request_id}"))


def print_error(message: str, style: str = "", console: Console | None = None) -> None:
    """Print one message after "error:"."""
    print_labelled(console or messages(), Text("error:", f"bold {style}".strip()), Text(printable(message)))


def _details(failure: Failure) -> Iterator[str]:
    for violation in failure.violations:
        detail = f"{violation.field}: {violation.description}" if violation.field else violation.description
        if detail != failure.message:  # a single violation is the message itself
            yield detail
    yield from (f"quota: {quota.subject}: {quota.description}" for quota in failure.quotas)
    if failure.retry_delay is not None:
        yield f"retry after: {failure.retry_delay:g} s"
    if failure.upstream is not None:
        yield from _upstream_details(failure)
    if failure.upstream_task_id:
        yield f"task of the upstream: --resume-task {failure.upstream_task_id} gets its result"


def _upstream_details(failure: Failure) -> Iterator[str]:
    reply = failure.upstream or UpstreamReply(0)
    own = "" if failure.message.endswith(reply.message) else reply.message  # the message often ends with it
    yield f"upstream: {', '.join(word for word in (f'HTTP status {reply.http_status}', reply.code, own) if word)}"
    if reply.trace_id:
        yield f"trace id of the upstream: {reply.trace_id}"
    if reply.docs_url:
        yield f"see: {reply.docs_url}"
    if reply.http_status == http.HTTPStatus.TOO_MANY_REQUESTS:  # the upstream sends them with every response
        yield from (f"{name}: {value}" for name, value in sorted(reply.rate_limit_headers.items()))


@contextlib.contextmanager
def exit_codes_for_exceptions() -> Iterator[None]:
    """Convert the expected exceptions of a command to its exit codes, without a traceback.

    Raises:
        Exit: with the exit code.
    """
    try:
        try:
            yield
        finally:
            output.flush_stdout()  # raise a write error here, not at interpreter exit
    except KeyboardInterrupt:
        print_error("interrupted")
        raise typer.Exit(exit_codes.INTERRUPTED) from None
    except BrokenPipeError:
        output.discard_stdout()
        raise typer.Exit(exit_codes.CLOSED) from None
    except EmbedwireError as error:
        report(error)
        raise typer.Exit(exit_codes.for_failure(error.failure)) from None
    except OSError as error:
        output.discard_stdout()
        print_error(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
        is_output = isinstance(error, output.OutputError)
        raise typer.Exit(exit_codes.OUTPUT if is_output else exit_codes.REQUEST) from None
