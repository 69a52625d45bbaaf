"""Failures in words, on stderr; and how a command ends that something has cut short."""

import contextlib
import http
import os
import sys
from collections.abc import Iterator

import typer
from rich.text import Text

from embedwire.cli import exit_codes
from embedwire.cli.call import Outcome
from embedwire.cli.terminal import messages, printable
from embedwire.errors import EmbedwireError, Failure, UpstreamReply


def report_all(outcome: Outcome) -> None:
    """Everything that failed in a call."""
    for index, error in outcome.failed:
        report(error, f"input {index}, {outcome.names[index]}")
    if outcome.error is not None:
        report(outcome.error, outcome.names[0] if len(outcome.names) == 1 else "")


def report(error: EmbedwireError, name: str = "") -> None:
    """One failure with all its facts, one a line."""
    failure = error.failure
    first = f"{name}: {failure}" if name else str(failure)
    say(first, style="red")
    for fact in _facts(failure):
        messages().print(Text(f"  {printable(fact)}"))
    if error.request_id:
        messages().print(Text(f"  request id: {error.request_id}"))


def say(message: str, style: str = "") -> None:
    """One line on stderr, after the word error."""
    messages().print(Text.assemble(("error: ", f"bold {style}".strip()), printable(message)))


def _facts(failure: Failure) -> Iterator[str]:
    for violation in failure.violations:
        fact = f"{violation.field}: {violation.description}" if violation.field else violation.description
        if fact != failure.message:  # the message of a single violation is the violation
            yield fact
    yield from (f"quota: {quota.subject}: {quota.description}" for quota in failure.quotas)
    if failure.retry_delay is not None:
        yield f"retry after: {failure.retry_delay:g} s"
    if failure.upstream is not None:
        yield from _upstream_facts(failure)


def _upstream_facts(failure: Failure) -> Iterator[str]:
    reply = failure.upstream or UpstreamReply(0)
    own = "" if failure.message.endswith(reply.message) else reply.message  # often the message ends with its words
    yield f"upstream: {', '.join(word for word in (f'HTTP status {reply.http_status}', reply.code, own) if word)}"
    if reply.docs_url:
        yield f"see: {reply.docs_url}"
    if reply.http_status == http.HTTPStatus.TOO_MANY_REQUESTS:  # it sends them with every reply
        yield from (f"{name}: {value}" for name, value in sorted(reply.rate_limit_headers.items()))


@contextlib.contextmanager
def endings() -> Iterator[None]:
    """Give every expected end of a command its exit code, without a traceback.

    Raises:
        Exit: with that code.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # so that its failure is told here, and not when Python ends
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(exit_codes.INTERRUPTED) from None
    except BrokenPipeError:
        _forget_output()
        raise typer.Exit(exit_codes.CLOSED) from None
    except EmbedwireError as error:
        report(error)
        raise typer.Exit(exit_codes.of(error.failure)) from None
    except OSError as error:
        _forget_output()
        say(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
        raise typer.Exit(exit_codes.MEND) from None


def _forget_output() -> None:
    """Drop what is still buffered: it would be written when Python ends, and fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
