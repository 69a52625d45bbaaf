"""What the command ends with, for scripts."""

from collections.abc import Iterable

from embedwire.errors import (
    DeadlineExceededError,
    Failure,
    RefusedError,
    RequestError,
    UnreachableError,
)

OK = 0
MEND = 1
USAGE = 2
LATER = 3
OPERATOR = 4
INTERRUPTED = 130
CLOSED = 141

# Lines that fit 80 columns, because the help keeps them as they are.
HELP = """Exit codes

[bold]0[/]    everything was embedded
[bold]1[/]    the request or an input was refused; mend it
[bold]2[/]    the command line is wrong
[bold]3[/]    try again later: no server, no time, a rate limit, an upstream down
[bold]4[/]    the server or its upstream is broken or misconfigured, which its
     operator must mend
[bold]130[/]  interrupted, and the call cancelled
[bold]141[/]  whoever read the output has closed it

With several failures it is the first of 1, 4, 3 that occurs."""

_UPSTREAM_LATER = {"UPSTREAM_RATE_LIMITED", "UPSTREAM_UNAVAILABLE", "UPSTREAM_TIMEOUT", "UPSTREAM_CONFLICT"}


def of_all(failures: Iterable[Failure]) -> int:
    """The code for all that failed in one run; 0 if nothing did."""
    found = {of(failure) for failure in failures}
    return next((code for code in (MEND, OPERATOR, LATER) if code in found), OK)


def of(failure: Failure) -> int:
    """The code for one failure: by its group, and for the upstream's by its reason."""
    error = failure.error()
    if isinstance(error, DeadlineExceededError | RefusedError | UnreachableError) or failure.reason in _UPSTREAM_LATER:
        return LATER
    return MEND if isinstance(error, RequestError) else OPERATOR
