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

# Up to a bracket, or to a string whose end has not arrived; with the last string on the way. It never steps back, but
# were the whole possessive, Python 3.11.2 would forget that string.
_PLAIN = re.compile(rb'[^]"\[{}]*+(?:("[^"\\]*+(?:\\.[^"\\]*+)*+")[^]"\[{}]*+)*', re.DOTALL)
_QUOTE, _LIST, _OPENING = ord('"'), ord("["), b"[{"
_NO_NUMBERS = (b"[", b'"', b"{")
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
        self._buffer = b""  # what is in neither the envelope nor a finished element, and, while it is fed, some of that
        self._taken = 0  # up to here
        self._scanned = 0  # up to here the buffer has been looked at
        self._unended = 0  # if numbers are cut off: up to here there is no end of them
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
        while bracket := self._bracket():
            if bracket in _OPENING:
                self._open(bracket)
            elif self._close():
                elements.append(self._cut())
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
            return _JSON.decode(self._envelope.decode())
        except (ValueError, RecursionError):
            raise MalformedReplyError("it is not valid JSON") from None

    def _expect_object(self) -> None:
        start = bytes(self._buffer.lstrip()[:1])
        if start not in (b"", b"{"):
            raise MalformedReplyError("it is not a JSON object")

    def _bracket(self) -> int:
        """Step behind the next bracket, lists of numbers apart, and return it; 0 if none has arrived."""
        buffer = self._buffer
        while True:
            plain: Any = _PLAIN.match(buffer, self._scanned)  # it always does
            at: int = plain.end()
            self._scanned = at
            if self._depth < _LIST_DEPTH and (name := plain[1]):
                self._names[self._depth] = name
            if at == len(buffer):
                return 0
            bracket = buffer[at]
            if bracket == _QUOTE:
                if len(buffer) - at > MAX_STRING_BYTES:
                    raise MalformedReplyError("a string in it is too long")
                return 0
            if bracket != _LIST or not self._skip_numbers(at):
                self._scanned = at + 1
                return bracket
            if self._unended:
                return 0

    def _skip_numbers(self, bracket: int) -> bool:
        """Pass over a list without lists and strings in it, as far as it has arrived; true if it is one.

        By `find`, at the speed of memory, since nearly all of a reply is such lists; the next list bounds all that is
        looked at, or many that are never closed would take for ever.
        """
        buffer, start = self._buffer, self._unended or bracket + 1
        self._unended = 0
        if buffer[start : start + 1] in _NO_NUMBERS:  # as in most other lists
            return False
        inner = buffer.find(b"[", start)
        end = buffer.find(b"]", start) if inner < 0 else buffer.find(b"]", start, inner)
        arrived = len(buffer) if end < 0 else end
        if end < 0 <= inner or buffer.find(b'"', start, arrived) >= 0:
            return False
        self._scanned, self._unended = (bracket, arrived) if end < 0 else (end + 1, 0)
        return True

    def _open(self, bracket: int) -> None:
        """Step into a bracket."""
        if self._in_list and self._depth == _LIST_DEPTH:  # an element begins: all before it is envelope
            self._take(self._scanned - 1)
        self._depth += 1
        if self._depth == _LIST_DEPTH and self._names[1:] == self._path[1:]:
            self._in_list = bracket == _LIST

    def _close(self) -> bool:
        """Step out of a bracket; true if that ends an element."""
        self._depth -= 1
        if self._depth < 0:
            raise MalformedReplyError("its brackets do not match")
        if not self._in_list or self._depth > _LIST_DEPTH:
            self._ended = self._depth == 0
            return False
        self._in_list = self._depth == _LIST_DEPTH
        return self._in_list

    def _cut(self) -> bytes:
        element = self._buffer[self._taken : self._scanned]
        self._taken = self._scanned
        self._envelope += b"{}"
        self.elements += 1
        return element

    def _take(self, end: int) -> None:
        """Move what is scanned up to here into the envelope."""
        self._envelope += self._buffer[self._taken : end]
        self._taken = end

    def _settle(self) -> None:
        """Keep of the buffer what belongs to an unfinished element or has not been scanned."""
        if not (self._in_list and self._depth > _LIST_DEPTH):
            self._take(self._scanned)
        self._buffer = self._buffer[self._taken :]
        self._scanned -= self._taken
        self._unended = max(0, self._unended - self._taken)
        self._taken = 0
        if len(self._buffer) > MAX_ELEMENT_BYTES or len(self._envelope) > MAX_ENVELOPE_BYTES:
            raise MalformedReplyError("a part of it is too large")


def _refuse(constant: str) -> Never:
    """NaN and Infinity are no JSON."""
    raise ValueError(constant)


_JSON = json.JSONDecoder(parse_constant=_refuse)
