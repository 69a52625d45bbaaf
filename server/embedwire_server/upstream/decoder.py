"""The reply of the v1 endpoint, cut into its segments as the bytes arrive.

The reply is one JSON object (upstream API notes, section 2.1); nearly all of it is the elements of
`<modality>_embedding.segments`. A scanner that knows no more of JSON than brackets and strings finds
where each element ends, hands it on, and leaves a `{}` in its place. So one element is in memory, not
one reply. Elements and what is left, the envelope, are small, and a real parser checks them strictly.
"""

import json
import re
from typing import Any, Never

from embedwire_server.upstream.wire import MalformedReplyError

MAX_ELEMENT_BYTES = 1 << 20
MAX_STRING_BYTES = 64 << 10  # an unfinished one is looked at again from its start with each chunk
MAX_ENVELOPE_BYTES = 1 << 20

_MARK = re.compile(rb'["{}\[\]]')
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_LIST_DEPTH = 3  # {"audio_embedding": {"segments": [
_SEGMENTS = b'"segments"'


class ReplyDecoder:
    """Takes the bytes of one reply in pieces of any size and gives back whole elements.

    Args:
        embedding: the member whose segments are cut out, for instance "audio_embedding".
    """

    def __init__(self, embedding: str) -> None:
        self._path = [b"", f'"{embedding}"'.encode(), _SEGMENTS]
        self._names = [b"", b"", b""]  # the last string seen at each of these depths
        self._envelope = bytearray()
        self._buffer = bytearray()  # what is in neither the envelope nor a finished element
        self._scanned = 0  # up to here the buffer has been looked at
        self._depth = 0
        self._in_list = False
        self._ended = False
        self.elements = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take more bytes and return the elements that they complete, each a JSON object.

        Raises:
            MalformedReplyError: this can never become a valid reply.
        """
        self._buffer += data
        if not self._depth and not self._ended:
            self._expect_object()
        elements: list[bytes] = []
        while mark := _MARK.search(self._buffer, self._scanned):
            at = mark.start()
            sign = self._buffer[at]
            if sign == ord('"'):
                if not self._skip_string(at):
                    break
            elif sign in b"{[":
                if not self._open(at, sign):
                    break
            elif self._close(at):
                elements.append(self._cut())
        else:
            self._scanned = len(self._buffer)
        self._settle()
        return elements

    def end(self) -> Any:  # noqa: ANN401 - any JSON value
        """Declare the reply complete and return the envelope, with a {} for each element.

        Raises:
            MalformedReplyError: it was cut short, or is no JSON.
        """
        if not self._ended:
            raise MalformedReplyError("it ends in the middle")
        self._envelope += self._buffer
        try:
            return json.loads(self._envelope, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise MalformedReplyError("it is not valid JSON") from None

    def _expect_object(self) -> None:
        start = bytes(self._buffer.lstrip()[:1])
        if start not in (b"", b"{"):
            raise MalformedReplyError("it is not a JSON object")

    def _skip_string(self, at: int) -> bool:
        string = _STRING.match(self._buffer, at)
        if string is None:
            if len(self._buffer) - at > MAX_STRING_BYTES:
                raise MalformedReplyError("a string in it is too long")
            self._scanned = at
            return False
        if self._depth < _LIST_DEPTH:
            self._names[self._depth] = bytes(string.group())
        self._scanned = string.end()
        return True

    def _open(self, at: int, sign: int) -> bool:
        if sign == ord("[") and self._in_list:
            end = self._buffer.find(b"]", at)
            if end < 0:  # all of a vector is skipped at once, so it has to be there
                self._scanned = at
                return False
            if all(self._buffer.find(inner, at + 1, end) < 0 for inner in (b"[", b"{", b'"')):
                self._scanned = end + 1
                return True
        if self._in_list and self._depth == _LIST_DEPTH:  # an element begins: all before it is envelope
            self._envelope += self._buffer[:at]
            del self._buffer[:at]
            at = 0
        self._depth += 1
        self._scanned = at + 1
        if self._depth == _LIST_DEPTH and sign == ord("[") and self._names[1:] == self._path[1:]:
            self._in_list = True
        return True

    def _close(self, at: int) -> bool:
        """Step out of a bracket; true if that ends an element."""
        self._depth -= 1
        self._scanned = at + 1
        if self._depth < 0:
            raise MalformedReplyError("its brackets do not match")
        self._in_list = self._in_list and self._depth >= _LIST_DEPTH
        self._ended = self._depth == 0
        return self._in_list and self._depth == _LIST_DEPTH

    def _cut(self) -> bytes:
        element = bytes(self._buffer[: self._scanned])
        del self._buffer[: self._scanned]
        self._scanned = 0
        self._envelope += b"{}"
        self.elements += 1
        return element

    def _settle(self) -> None:
        """Move what is scanned into the envelope, unless it belongs to an unfinished element."""
        if not (self._in_list and self._depth > _LIST_DEPTH):
            self._envelope += self._buffer[: self._scanned]
            del self._buffer[: self._scanned]
            self._scanned = 0
        if len(self._buffer) > MAX_ELEMENT_BYTES or len(self._envelope) > MAX_ENVELOPE_BYTES:
            raise MalformedReplyError("a part of it is too large")


def _refuse(constant: str) -> Never:
    """NaN and Infinity are no JSON."""
    raise ValueError(constant)
