"""Uploads of audio that becomes an asset of the upstream."""

from collections.abc import AsyncGenerator
from typing import Any

from embedwire.v1 import embedding_pb2 as pb
from tests.support.messages import request

ASSET_BYTES = 37_000_000  # above the limit of a JSON body
TASK = {"processing_mode": pb.PROCESSING_MODE_TASK}
_CHUNK_BYTES = 1 << 20

Message = pb.CreateEmbeddingFromUploadRequest


def audio(**members: Any) -> pb.AudioInput:
    """Audio that is uploaded, with a selection; by default one that needs the v2 API and no task."""
    source = pb.MediaSource(upload=pb.UploadSource(file_name="of-the-caller.wav"))
    return pb.AudioInput(source=source, **(members or {"embedding_options": ["audio"]}))


def upload(stub: Any, content: bytes, asked: pb.AudioInput, model: str = "marengo3.0", **options: Any) -> Any:
    """Begin a call that uploads one file."""

    async def messages() -> AsyncGenerator[Message]:
        yield Message(request=request(pb.Input(audio=asked), model=model))
        for start in range(0, len(content), _CHUNK_BYTES):
            data = content[start : start + _CHUNK_BYTES]
            is_last = start + _CHUNK_BYTES >= len(content)
            yield Message(chunk=pb.UploadChunk(input_index=0, data=data, last=is_last))

    return stub.CreateEmbeddingFromUpload(messages(), **({"timeout": 60} | options))
