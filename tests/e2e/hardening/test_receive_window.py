"""The HTTP/2 receive window of the server."""

import asyncio

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.rpc.server_options import RECEIVE_WINDOW_BYTES
from tests.support import http2
from tests.support.messages import request, upload_input
from tests.support.serving import Serve

METHOD = "/embedwire.v1.EmbeddingService/CreateEmbeddingFromUpload"
CHUNKS, CHUNK_BYTES = 512, 64 << 10
UPLOAD = pb.CreateEmbeddingFromUploadRequest(
    request=request(upload_input("audio", size_bytes=2 * CHUNKS * CHUNK_BYTES)),
)
CHUNK = pb.CreateEmbeddingFromUploadRequest(chunk=pb.UploadChunk(data=bytes(CHUNK_BYTES)))


async def test_the_window_is_fixed(serve: Serve) -> None:
    """The window is announced once. A fast upload does not enlarge it, and so takes no more memory than a slow one."""
    async with serve() as served, http2.Connection.open(served.app.target) as connection:
        sender = http2.Sender(connection)
        following = asyncio.ensure_future(sender.follow())
        await connection.send(http2.call(METHOD, 1))
        await sender.send(http2.message(UPLOAD.SerializeToString()))
        for _ in range(CHUNKS):
            await sender.send(http2.message(CHUNK.SerializeToString()))
        following.cancel()

    assert sender.windows == [RECEIVE_WINDOW_BYTES]
