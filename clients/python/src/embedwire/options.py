"""What a call may choose, of either client."""

from typing import TypedDict

from embedwire.vectors import Encoding


class CallOptions(TypedDict, total=False):
    """What a single call may choose.

    Attributes:
        timeout: seconds for everything: queueing, uploads, every attempt, the reply. It is the deadline of the call.
            By default that of the client, and if that has none, 60 s, or 600 s if any input is audio.
        max_retries: the most upstream attempts that may follow a failed first one, for each input; 0 forbids
            retries, None (the default) leaves it to the server. An attempt may be billed.
        request_id: an id for the server's log and metadata, at most 64 letters, digits and `-_.:`; by default a
            new one.
        chunk_bytes: size of the chunks in which files are uploaded, 256 KiB by default.
        encoding: how vectors travel, "float32_le" (the default, and the cheapest) or "float_values"; the values are
            the same.
    """

    timeout: float | None
    max_retries: int | None
    request_id: str | None
    chunk_bytes: int
    encoding: Encoding | None
