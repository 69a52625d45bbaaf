"""Helpers of the tests of decoding."""

from collections.abc import Callable
from typing import Any

import pytest

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.core.errors import InvalidRequest
from embedwire_server.core.inputs import Limits
from embedwire_server.core.models import BUILT_IN, AudioRules, ImageRules, Model, ModelTable, TextRules, Truncate
from embedwire_server.media.memory_budget import ContentMemory
from embedwire_server.rpc.decode import RequestReader

TEXT_ONLY = Model("text-only", 4, text=TextRules(10, (Truncate.END,)))
SMALL = Model("small", 4, image=ImageRules(max_bytes=50, min_side_px=1), audio=AudioRules(max_bytes=60))
LIMITS = Limits(inputs=3, image_bytes=100, upload_bytes=200, text_bytes=10, url_chars=40)
URL = "https://example.com/a.png"


def reader() -> RequestReader:
    models = ModelTable((*BUILT_IN, TEXT_ONLY, SMALL))
    return RequestReader(models, LIMITS, open_uploads=2, content_memory=ContentMemory(1 << 20))


def text(value: str = "a fox", key: str = "", truncate: int = 0) -> pb.Input:
    return pb.Input(key=key, text=pb.TextInput(value=value, truncate=truncate))  # type: ignore[arg-type] # unknown ones too


def image(**source: Any) -> pb.Input:
    return pb.Input(image=pb.ImageInput(source=pb.MediaSource(**source)))


def audio(offset: float | None = None, **source: Any) -> pb.Input:
    return pb.Input(audio=pb.AudioInput(source=pb.MediaSource(**source), start_offset_sec=offset))


def file(data: bytes = b"x", **more: str) -> pb.FileSource:
    return pb.FileSource(data=data, **more)


def upload(**more: Any) -> pb.UploadSource:
    return pb.UploadSource(**more)


def request(*inputs: pb.Input, model: str = "marengo3.0", **more: Any) -> pb.CreateEmbeddingRequest:
    return pb.CreateEmbeddingRequest(model_name=model, inputs=inputs, **more)


def faults(read: Callable[[], object]) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        read()
    violations = caught.value.violations
    assert caught.value.message.startswith(f"{violations[0].field}: {violations[0].description}")
    return {violation.field: violation.description for violation in violations}
