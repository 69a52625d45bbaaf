"""Drop-in replacement for the TwelveLabs SDK's `client.embed.create`, through an Embedwire server.

    from embedwire.twelvelabs import TwelveLabs

    client = TwelveLabs(target="127.0.0.1:50051")
    res = client.embed.create("marengo3.0", text="a red fox in the snow")

Signature, results and exceptions are those of twelvelabs 1.x; docs/drop-in.md lists the differences. Sources: the SDK's
two pages on `embed.create`, and the observed behaviour of twelvelabs 1.3.6.
"""

from embedwire.connection import TLS
from embedwire.twelvelabs.client import AsyncTwelveLabs, TwelveLabs
from embedwire.twelvelabs.errors import ApiConnectionError, ApiError, ApiTimeoutError, BadRequestError
from embedwire.twelvelabs.options import RequestOptions
from embedwire.twelvelabs.types import (
    AudioEmbeddingResult,
    AudioSegment,
    BaseEmbeddingMetadata,
    BaseSegment,
    EmbeddingResponse,
    ImageEmbeddingResult,
    TextEmbeddingResult,
)

__all__ = [
    "TLS",
    "ApiConnectionError",
    "ApiError",
    "ApiTimeoutError",
    "AsyncTwelveLabs",
    "AudioEmbeddingResult",
    "AudioSegment",
    "BadRequestError",
    "BaseEmbeddingMetadata",
    "BaseSegment",
    "EmbeddingResponse",
    "ImageEmbeddingResult",
    "RequestOptions",
    "TextEmbeddingResult",
    "TwelveLabs",
]
