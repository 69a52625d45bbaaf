"""Helpers of the tests of the v2 dialect: calls, and the outcome of a reply that arrives in pieces."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from embedwire_server.core.errors import UpstreamFailure
from embedwire_server.core.inputs import AudioInput, Input, TextInput, UrlSource
from embedwire_server.core.models import MARENGO_30, MARENGO_35, Model
from embedwire_server.core.results import ReplySummary, Segment
from embedwire_server.upstreams.base import EmbedCall
from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.twelvelabs.v2 import TaskReplyParser, V2ReplyParser
from embedwire_server.upstreams.twelvelabs.v2_reply import TaskReply

DIMENSIONS = 3
OLD = dataclasses.replace(MARENGO_30, dimensions=DIMENSIONS)
NEW = dataclasses.replace(MARENGO_35, dimensions=DIMENSIONS)
AUDIO_URL = "https://example.test/a.mp3"
TEXT = TextInput("k", "a fox")
AUDIO = AudioInput("k", UrlSource(AUDIO_URL))
KEY = "tlk_0123456789"
Result = tuple[list[Segment], ReplySummary | str]


def call(item: Input = TEXT, model: Model = OLD, **more: Any) -> EmbedCall:
    return EmbedCall(item, model, 1e9, **more)


def outcome(pieces: Iterable[bytes], wanted: EmbedCall) -> Result:
    """Return the segments of a reply, also those before a fault, and its summary or fault."""
    parser = V2ReplyParser(wanted, KEY)
    segments: list[Segment] = []
    for piece in pieces:
        segments += parser.feed(piece)
        if parser.fault is not None:
            return segments, str(parser.fault)
    try:
        return segments, parser.finish()
    except (MalformedReplyError, UpstreamFailure) as fault:
        return segments, str(fault)


def at_once(data: bytes, wanted: EmbedCall) -> Result | None:
    """Return the outcome of a complete reply parsed without the scanner; None if that is not possible."""
    return V2ReplyParser(wanted, KEY).whole(data)


def task_outcome(pieces: Iterable[bytes], wanted: EmbedCall) -> TaskReply | str:
    """Return the status of a task, or the fault of the reply."""
    parser = TaskReplyParser(wanted, KEY)
    for piece in pieces:
        parser.feed(piece)
        if parser.fault is not None:
            return str(parser.fault)
    try:
        return parser.finish()
    except MalformedReplyError as fault:
        return str(fault)
