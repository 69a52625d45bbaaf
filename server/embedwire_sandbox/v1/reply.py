"""Streams a response as JSON: each segment is written as soon as it is computed.

Shapes: upstream API notes, section 2.1.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from embedwire_sandbox.errors import MediaError
from embedwire_sandbox.media.vectors import numbers
from embedwire_sandbox.v1.result import Document, Result, Segment, Segments


async def pieces(document: Document) -> AsyncGenerator[bytes, None]:
    """Yield the JSON of a response in pieces."""
    lead = "{"
    if document.model_name is not None:
        yield f'{{"model_name":{json.dumps(document.model_name)}'.encode()
        lead = ","
    for result in document.results:
        yield f'{lead}"{result.modality}_embedding":'.encode()
        async with aclosing(_result(result)) as written:
            async for piece in written:
                yield piece
        lead = ","
    yield b"}"


async def _result(result: Result) -> AsyncGenerator[bytes, None]:
    error = result.error_message
    lead = b"{"
    if result.segments is not None:
        yield b'{"segments":['
        try:
            async with aclosing(_segments(result.segments)) as written:
                async for piece in written:
                    yield piece
        except MediaError as bad:  # the status is already sent, so the error is in the body
            error = bad.message
        yield b"]"
        lead = b","
    if result.metadata is not None:
        yield lead + b'"metadata":' + json.dumps(dict(result.metadata)).encode()
        lead = b","
    if error is not None:
        yield lead + b'"error_message":' + json.dumps(error).encode()
        lead = b","
    yield b"}" if lead == b"," else b"{}"


async def _segments(segments: Segments) -> AsyncGenerator[bytes, None]:
    lead = b""
    async with aclosing(segments):
        async for segment in segments:
            yield lead + _segment(segment)
            lead = b","


def _segment(segment: Segment) -> bytes:
    fields = [f'"float":[{numbers(segment.vector)}]']
    if segment.start_offset_sec is not None:
        fields.append(f'"start_offset_sec":{_seconds(segment.start_offset_sec)}')
    if segment.end_offset_sec is not None:
        fields.append(f'"end_offset_sec":{_seconds(segment.end_offset_sec)}')
    if segment.embedding_option is not None:
        fields.append(f'"embedding_option":{json.dumps(segment.embedding_option)}')
    return f"{{{','.join(fields)}}}".encode()


def _seconds(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
