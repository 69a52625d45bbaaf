"""Totals of a call: what its inputs have used together."""

import dataclasses

from embedwire_server.core.results import CacheStatus


@dataclasses.dataclass(slots=True)
class Totals:
    """Sums over the inputs of one call, for its trailers and its log line.

    Inputs run concurrently, so the seconds may add up to more than the duration of the call.

    Attributes:
        modalities: number of inputs by modality; only those that were begun.
        segments: number of decoded segments.
        content_bytes: size of texts and files that were received.
        attempts: number of upstream requests.
        queue: seconds in queues. The fields that follow are seconds as well.
        upload: waiting for uploaded files.
        upstream: waiting for the upstream.
        decode: decoding responses.
        upstream_trace_id: the upstream's identifier of the last request; empty if it sent none.
        cache: number of inputs by cache status; only those that have one.
    """

    modalities: dict[str, int] = dataclasses.field(default_factory=dict)
    segments: int = 0
    content_bytes: int = 0
    attempts: int = 0
    queue: float = 0.0
    upload: float = 0.0
    upstream: float = 0.0
    decode: float = 0.0
    upstream_trace_id: str = ""
    cache: dict[CacheStatus, int] = dataclasses.field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Number of inputs that were begun."""
        return sum(self.modalities.values())

    @property
    def cache_text(self) -> str:
        """The numbers of `cache`, for instance "hit=2, miss=1"; empty if no input has a status."""
        return ", ".join(f"{status}={self.cache[status]}" for status in CacheStatus if status in self.cache)
