"""Exit codes of the command."""

from collections.abc import Set as AbstractSet

from embedwire.errors import (
    DeadlineExceededError,
    Failure,
    RefusedError,
    RequestError,
    TransportError,
)

OK = 0
REQUEST = 1
USAGE = 2
RETRY_LATER = 3
OPERATOR = 4
OUTPUT = 5
INTERRUPTED = 130
CLOSED = 141

# Lines of at most 80 columns: the help does not wrap them.
HELP = """Exit codes

[bold]0[/]    everything was embedded
[bold]1[/]    the request or an input was rejected; correct it
[bold]2[/]    the command line is invalid
[bold]3[/]    try again later: server unreachable, deadline exceeded, rate limit,
     or upstream unavailable
[bold]4[/]    the server or its upstream is broken or misconfigured; its operator
     must fix it
[bold]5[/]    the output cannot be written, for instance because the disk is full
[bold]130[/]  interrupted, and the call cancelled
[bold]141[/]  the reader of the output closed it

With several failures, the first of 1, 4, 3 that occurs."""
BATCH_HELP = HELP.replace(
    "interrupted, and the call cancelled",
    "interrupted (143 and 129: ended by SIGTERM and SIGHUP);\n     the same command again resumes",
)

# For calls that gRPC or an intermediary ended: no server, credentials that a proxy rejects, a message over a limit.
_TRANSPORT = {
    "UNAVAILABLE": RETRY_LATER,
    "UNAUTHENTICATED": REQUEST,
    "PERMISSION_DENIED": REQUEST,
    "RESOURCE_EXHAUSTED": REQUEST,
}
_UPSTREAM_RETRY_LATER = {"UPSTREAM_RATE_LIMITED", "UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT", "UPSTREAM_CONFLICT"}


def combined(codes: AbstractSet[int]) -> int:
    """Return the exit code for several failures, from the codes of all; 0 if there are none."""
    return next((code for code in (REQUEST, OPERATOR, RETRY_LATER) if code in codes), OK)


def for_failure(failure: Failure) -> int:
    """Return the exit code for one failure: by its group, its reason (of the upstream) or its code (no reason)."""
    error = failure.error()
    if isinstance(error, TransportError):
        return _TRANSPORT.get(failure.code, OPERATOR)
    if isinstance(error, DeadlineExceededError | RefusedError) or failure.reason in _UPSTREAM_RETRY_LATER:
        return RETRY_LATER
    return REQUEST if isinstance(error, RequestError) else OPERATOR
