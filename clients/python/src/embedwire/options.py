"""Options of a call, for both clients."""

from typing import TypedDict

from embedwire.vectors import Encoding


class CallOptions(TypedDict, total=False):
    """Options of a single call.

    Attributes:
        timeout: deadline of the call in seconds, for queueing, uploads, every attempt and the response. By default
            that of the client, and if it has none, 60 s, or 600 s if any input is audio.
        max_retries: largest number of upstream attempts after the first one, for each input; 0 forbids retries, None
            (the default) means the server's policy. An attempt may be billed.
        request_id: an id for the server's log and metadata, at most 64 letters, digits and `-_.:`; by default a
            random one.
        chunk_bytes: size of the chunks of an upload, 256 KiB by default.
        encoding: wire format of vectors, "float32_le" (the default, and the fastest) or "float_values"; the values
            are the same.
    """

    timeout: float | None
    max_retries: int | None
    request_id: str | None
    chunk_bytes: int
    encoding: Encoding | None
