"""Calls of the tests of tracing, and the names of the spans."""

import contextlib
from collections.abc import Sequence
from typing import Any

import grpc

from embedwire.v1 import embedding_pb2 as pb
from tests.support.messages import request, text_input

CALL, INPUT, ATTEMPT = "embedwire.v1.EmbeddingService/CreateEmbedding", "embeddings marengo3.0", "POST /embed"
TRACE_ID, CALLERS_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{CALLERS_SPAN}-01"
UNSAMPLED = f"00-{TRACE_ID}-{CALLERS_SPAN}-00"
STATE = "vendor=value,other@tenant=x:1"


async def embed(
    served: Any, *inputs: pb.Input, parent: str = "", metadata: Sequence[tuple[str, Any]] = (), **members: Any
) -> list[pb.CreateEmbeddingResponse]:
    """Embed inputs, by default one text, as part of a caller's trace; return the events."""
    if parent:
        metadata = (("traceparent", parent), ("tracestate", STATE))
    asked = request(*(inputs or (text_input(),)), **members)
    return [event async for event in served.stub.CreateEmbedding(asked, timeout=30, metadata=metadata)]


async def fail(served: Any, *inputs: pb.Input, **options: Any) -> None:
    """Embed inputs; the call fails."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        await embed(served, *inputs, **options)
        raise AssertionError
