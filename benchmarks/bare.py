"""The lower bound: a bare grpc.aio server on uvloop that sends a prebuilt answer.

    python -m benchmarks.bare PORT FILE

The file is a unary answer; a stream consists of its segments, one message each.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import uvloop

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc


class Bare(embedding_pb2_grpc.EmbeddingServiceServicer):
    """Answers with prebuilt messages."""

    def __init__(self, answer: pb.CreateEmbeddingUnaryResponse) -> None:
        self._answer = answer
        segments = answer.embeddings[0].segments
        self._events = [pb.CreateEmbeddingResponse(events=[pb.EmbeddingEvent(segment=each)]) for each in segments]

    async def CreateEmbedding(self, _: Any, __: Any) -> AsyncGenerator[pb.CreateEmbeddingResponse]:  # noqa: N802 - name of the contract
        for event in self._events:
            yield event

    async def CreateEmbeddingUnary(self, _: Any, __: Any) -> pb.CreateEmbeddingUnaryResponse:  # noqa: N802 - name of the contract
        return self._answer


async def serve(port: int, answer: pb.CreateEmbeddingUnaryResponse) -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(Bare(answer), server)  # type: ignore[abstract] # the rest is not asked for
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        prebuilt = pb.CreateEmbeddingUnaryResponse.FromString(Path(sys.argv[2]).read_bytes())
        runner.run(serve(int(sys.argv[1]), prebuilt))
