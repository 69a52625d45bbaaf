"""Helpers of the tests of the result cache."""

import struct

from embedwire_server.core.inputs import Input
from embedwire_server.core.models import MARENGO_30, Model
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.observability.metrics import Metrics
from embedwire_server.policies.cache.entry import CachedSegment, Entry
from embedwire_server.policies.cache.key import ResultKeys
from embedwire_server.policies.cache.memory_store import MemoryStore
from embedwire_server.upstreams.base import EmbedCall
from tests.support.embed_calls import FAR

KEYS = ResultKeys("http://upstream.test", "tlk_of_the_server")


def vector(value: float, dimensions: int = 512) -> bytes:
    return struct.pack(f"<{dimensions}f", *[value] * dimensions)


def entry(value: float = 0.5, segments: int = 1) -> Entry:
    """An entry whose vectors have this value."""
    found = [CachedSegment.of(Segment(vector(value))) for _ in range(segments)]
    return Entry.of(found, "fake", ReplySummary("marengo3.0"))


def store(max_bytes: int = 1 << 20, max_age: float = 60.0) -> MemoryStore:
    return MemoryStore(max_bytes, max_age, Metrics("fake"))


def call_of(
    item: Input,
    model: Model = MARENGO_30,
    *,
    credential: str | None = None,
    tenant: str = "",
    has_uncertainty: bool = False,
) -> EmbedCall:
    return EmbedCall(item, model, FAR, credential=credential, tenant=tenant, has_uncertainty=has_uncertainty)
