"""The facts about one HTTP exchange that decide whether its request may be repeated."""

import dataclasses


class TlsRecordReceived(Exception):
    """The bytes that arrived instead of an HTTP response are a TLS record: the port requires TLS."""


@dataclasses.dataclass(slots=True)
class Exchange:
    """One request and what became of it; a request carries it as the extension `exchange`.

    Attributes:
        needs_fresh: only a new connection may be used. All idle connections are closed then: one of them was stale,
            and the others are as old.
        is_connected: whether the request got a connection.
        is_reused: whether that connection had carried a request before.
        is_accepted: whether a TCP connection was established, also if TLS failed on it.
        is_begun: whether bytes of the request were written.
        is_sent: whether the whole request was written; `unsent` bytes of it may still have been in memory.
        is_answered: whether any byte of a response arrived.
        is_early: whether the head of the response arrived before the request had been sent completely.
        unsent: how many bytes were still in memory when the connection was closed.
        fault: why the response cannot be used; a text for callers.
    """

    needs_fresh: bool = False
    is_connected: bool = False
    is_reused: bool = False
    is_accepted: bool = False
    is_begun: bool = False
    is_sent: bool = False
    is_answered: bool = False
    is_early: bool = False
    unsent: int = 0
    fault: str = ""
