"""Limit on the open streams of a service without authentication."""

import contextlib
from collections.abc import Iterator

from embedwire_server.core.errors import Overloaded
from embedwire_server.core.fair_share import FairShare
from embedwire_server.rpc import call_context

_RETRY_SECONDS = 1.0


class StreamLimit:
    """Limits the streams of one kind: on one connection, and in total, with a fair share for hosts and connections.

    Args:
        kind: the name of the streams, for the error message.
        most: the limit in total.
        of_connection: the limit on one connection.
    """

    def __init__(self, kind: str, most: int, of_connection: int) -> None:
        self._kind = kind
        self._of_connection = of_connection
        self._share = FairShare(most, most // 4)

    @contextlib.contextmanager
    def held(self, peer: str) -> Iterator[None]:
        """Count a stream of this peer while it is open.

        Raises:
            Overloaded: the limit is reached; the message names it.
        """
        caller = call_context.caller_of(peer)
        if self._share.held_by(caller) >= self._of_connection:
            text = f"too many {self._kind} on this connection (at most {self._of_connection}); close some first"
            raise Overloaded(text, retry_delay=_RETRY_SECONDS)
        if not self._share.fits(caller, 1):
            text = f"too many {self._kind} (at most {self._share.most}, shared by all callers); retry later"
            raise Overloaded(text, retry_delay=_RETRY_SECONDS)
        self._share.change(caller, 1)
        try:
            yield
        finally:
            self._share.change(caller, -1)
