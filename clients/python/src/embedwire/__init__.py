"""The Python client of an Embedwire server, which embeds text, images and audio.

`Client` and `AsyncClient` are the clients; `embedwire.twelvelabs` is a drop-in replacement for the TwelveLabs SDK's
`embed.create`; `embedwire.v1` has the generated messages and stubs.
"""

from embedwire.async_client import AsyncClient
from embedwire.async_stream import AsyncStream
from embedwire.audio_options import DynamicSegmentation, FixedSegmentation
from embedwire.client import Client
from embedwire.connection import TLS
from embedwire.errors import (
    ClosedError,
    DeadlineExceededError,
    EmbedwireError,
    Failure,
    FieldViolation,
    GatewayError,
    QuotaViolation,
    RefusedError,
    RequestError,
    TransportError,
    UpstreamError,
    UpstreamReply,
)
from embedwire.inputs import Audio, Image, Input, Text
from embedwire.map.tasks import AsyncMapRun
from embedwire.map.threads import MapRun
from embedwire.options import CallOptions, MapOptions
from embedwire.results import (
    AudioSupport,
    Embedding,
    Event,
    ImageSupport,
    Model,
    Progress,
    Result,
    Segment,
    SegmentationRange,
    TextSupport,
    Timings,
)
from embedwire.stream import Stream
from embedwire.vectors import Vector
from embedwire.version import __version__

__all__ = [
    "TLS",
    "AsyncClient",
    "AsyncMapRun",
    "AsyncStream",
    "Audio",
    "AudioSupport",
    "CallOptions",
    "Client",
    "ClosedError",
    "DeadlineExceededError",
    "DynamicSegmentation",
    "Embedding",
    "EmbedwireError",
    "Event",
    "Failure",
    "FieldViolation",
    "FixedSegmentation",
    "GatewayError",
    "Image",
    "ImageSupport",
    "Input",
    "MapOptions",
    "MapRun",
    "Model",
    "Progress",
    "QuotaViolation",
    "RefusedError",
    "RequestError",
    "Result",
    "Segment",
    "SegmentationRange",
    "Stream",
    "Text",
    "TextSupport",
    "Timings",
    "TransportError",
    "UpstreamError",
    "UpstreamReply",
    "Vector",
    "__version__",
]
