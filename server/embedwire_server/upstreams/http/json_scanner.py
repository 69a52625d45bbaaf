"""Incremental scanner that cuts the elements of one list out of a JSON response as the bytes arrive.

A response is one JSON object; nearly all of it is the elements of one list, the segments, at a known path. The scanner
follows only brackets and strings, finds where each element ends, cuts it out, and replaces it by `{}`. So one element
is in memory, not the whole response. Elements and the rest, the envelope, are small, and a JSON parser checks them.

Every decision depends on the bytes up to a position, never on how they were split into pieces.
"""

import re
from typing import Any

from embedwire_server.upstreams.dialect import MalformedReplyError
from embedwire_server.upstreams.http import json_fallback

# The limits for unknown members: beside the segments, all of them together; in a segment, with its vector.
MAX_ENVELOPE_BYTES = 1 << 20
MAX_ELEMENT_BYTES = 1 << 20
MAX_DEPTH = 768  # below the limit of the interpreter's own JSON parser, at any stack depth of the caller

# Up to a bracket, or to a string whose end has not arrived; captures the last string before it. It never backtracks,
# but were the whole possessive, Python 3.11.2 would lose that string.
_PLAIN = re.compile(rb'[^]"\[{}]*+(?:("[^"\\]*+(?:\\.[^"\\]*+)*+")[^]"\[{}]*+)*', re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_QUOTE, _LIST, _OBJECT, _OPENING = ord('"'), ord("["), ord("{"), b"[{"
_NO_NUMBERS = (b"[", b'"', b"{")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_OTHER_ENCODINGS = b"\x00\xfe\xff"  # how UTF-16 and UTF-32 begin, with a byte order mark or big-endian
_NOT_UTF8 = "it is not encoded in UTF-8"


class ReplyDecoder:
    """Incremental decoder of one response: takes bytes in pieces of any size and returns complete elements.

    Args:
        path: names of the members that lead to the list, from the outermost, for instance "audio_embedding" and
            "segments".
    """

    def __init__(self, *path: str) -> None:
        self._path = [f'"{name}"'.encode() for name in path]
        self._list_depth = len(path) + 1  # within the list
        self._names = [b""] * self._list_depth  # the last string seen at each of these depths
        self._envelope = bytearray()
        self._buffer = b""  # bytes in neither the envelope nor a finished element; during `feed`, also some that are
        self._consumed = 0  # end of the bytes that are in the envelope or a finished element
        self._scanned = 0  # end of the scanned bytes
        self._unended = 0  # if a list of numbers is incomplete: its end is not before this index
        self._unended_string = 0  # if a string is incomplete: its end is not before this index
        self._depth = 0
        self._in_list = False
        self._begun = False
        self._ended = False
        self.elements = 0
        self.fault: MalformedReplyError | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes that are held: the envelope, and the element that is not complete yet."""
        return len(self._buffer) + len(self._envelope)

    def feed(self, data: bytes) -> list[bytes]:
        """Scan more bytes and return the elements that they complete, each a JSON object or list.

        If the response is malformed, `fault` is set, and the elements before the fault are returned.
        """
        self._buffer += data
        elements: list[bytes] = []
        try:
            if (self._begun or self._begin()) and not (self._unended_string and self._is_in_string()):
                while bracket := self._bracket():
                    if bracket in _OPENING:
                        self._open(bracket)
                    elif self._close():
                        elements.append(self._cut())
            self._settle()
        except MalformedReplyError as error:
            self.fault = error
        return elements

    def end(self) -> Any:  # noqa: ANN401 - any JSON value
        """Finish the response and return the envelope, with a {} for each element.

        Raises:
            MalformedReplyError: it is truncated, or is no JSON.
        """
        if not self._ended:
            raise MalformedReplyError("it is truncated")
        self._envelope += self._buffer
        try:
            return json_fallback.read(self._envelope)
        except ValueError:
            is_wide = b"\x00" in self._envelope[:4]
            raise MalformedReplyError(_NOT_UTF8 if is_wide else "it is not valid JSON") from None

    def _begin(self) -> bool:
        """Skip a byte order mark, which the official SDK ignores, and spaces; return True if the object has begun."""
        if self._buffer.startswith(b"{"):  # nearly always
            self._begun = True
            return True
        if not self._envelope:
            if len(self._buffer) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(self._buffer):
                return False  # nothing yet, or a part of the mark
            if self._buffer.startswith(_BYTE_ORDER_MARK):
                self._buffer = b" " + self._buffer[len(_BYTE_ORDER_MARK) :]
        rest = self._buffer.lstrip(_SPACE)
        self._scanned = len(self._buffer) - len(rest)
        if rest and rest[0] != _OBJECT:
            raise self._malformed(_NOT_UTF8 if rest[0] in _OTHER_ENCODINGS else "it is not a JSON object")
        self._begun = bool(rest)
        return self._begun

    def _bracket(self) -> int:
        """Advance past the next bracket, skipping lists of numbers, and return it; 0 if none has arrived."""
        buffer = self._buffer
        while True:
            plain: Any = _PLAIN.match(buffer, self._scanned)  # always matches
            at: int = plain.end()
            self._scanned = at
            if self._depth < self._list_depth and (name := plain[1]):
                self._names[self._depth] = name
            if at == len(buffer):
                return 0
            bracket = buffer[at]
            if bracket == _QUOTE:
                self._unended_string = at + 1
                return 0
            if bracket != _LIST or not self._skip_numbers(at):
                self._scanned = at + 1
                return bracket
            if self._unended:
                return 0

    def _is_in_string(self) -> bool:
        """Skip more of an incomplete string; return True if its end has not arrived."""
        found: Any = _REST_OF_STRING.match(self._buffer, self._unended_string)  # always matches
        end: int = found.end()
        if self._buffer[end : end + 1] != b'"':
            self._unended_string = end
            return True
        if self._depth < self._list_depth:
            self._names[self._depth] = self._buffer[self._scanned : end + 1]
        self._scanned, self._unended_string = end + 1, 0
        return False

    def _skip_numbers(self, bracket: int) -> bool:
        """Skip a list without nested lists and strings, as far as it has arrived; return whether it is one.

        Uses `find`, which is fast, since nearly all of a response is such lists. The search ends at the next list, or
        many lists that are never closed would take quadratic time.
        """
        buffer, start = self._buffer, self._unended or bracket + 1
        self._unended = 0
        if start == bracket + 1 and buffer[start : start + 1] in _NO_NUMBERS:  # as in most other lists
            return False
        inner = buffer.find(b"[", start)
        end = buffer.find(b"]", start) if inner < 0 else buffer.find(b"]", start, inner)
        arrived = len(buffer) if end < 0 else end
        if end < 0 <= inner or buffer.find(b'"', start, arrived) >= 0:
            return False
        self._scanned, self._unended = (bracket, arrived) if end < 0 else (end + 1, 0)
        return True

    def _open(self, bracket: int) -> None:
        """Enter a bracket."""
        if self._in_list and self._depth == self._list_depth:  # an element begins: all before it is envelope
            self._take(self._scanned - 1)
        self._depth += 1
        if self._depth > self._list_depth:
            if self._depth > MAX_DEPTH:
                raise self._malformed("it is nested too deeply")
        elif self._depth == self._list_depth:
            self._in_list = bracket == _LIST and self._is_path()
        else:
            self._names[self._depth] = b""

    def _is_path(self) -> bool:
        """Whether the names that lead here are those of the list, also if they are written with escapes."""
        names = self._names[1:]
        return names == self._path or (b"\\" in b"".join(names) and [*map(_unescaped, names)] == self._path)

    def _close(self) -> bool:
        """Leave a bracket; return True if that ends an element."""
        self._depth -= 1
        if self._depth < 0:
            raise self._malformed("its brackets do not match")
        if not self._in_list or self._depth > self._list_depth:
            self._ended = self._depth == 0
            return False
        self._in_list = self._depth == self._list_depth
        return self._in_list

    def _cut(self) -> bytes:
        element = self._buffer[self._consumed : self._scanned]
        if len(element) > MAX_ELEMENT_BYTES:
            raise _too_large()
        self._consumed = self._scanned
        self._envelope += b"{}"
        self.elements += 1
        return element

    def _take(self, end: int) -> None:
        """Move scanned bytes up to `end` into the envelope."""
        self._envelope += self._buffer[self._consumed : end]
        self._consumed = end
        if len(self._envelope) > MAX_ENVELOPE_BYTES:
            raise _too_large()

    def _settle(self) -> None:
        """Drop from the buffer all but an unfinished element and unscanned bytes."""
        if not self._is_in_element():
            self._take(self._scanned)
        consumed = self._consumed
        self._buffer = self._buffer[consumed:]
        self._scanned -= consumed
        self._unended = max(0, self._unended - consumed)
        self._unended_string = max(0, self._unended_string - consumed)
        self._consumed = 0
        if self._buffer and self._is_above_limit(len(self._buffer)):
            raise _too_large()

    def _is_in_element(self) -> bool:
        return self._in_list and self._depth > self._list_depth

    def _is_above_limit(self, size: int) -> bool:
        """Whether this many bytes outside the envelope and finished elements exceed a limit."""
        if self._is_in_element():
            return size > MAX_ELEMENT_BYTES
        return len(self._envelope) + size > MAX_ENVELOPE_BYTES

    def _malformed(self, message: str) -> MalformedReplyError:
        """Return this fault, or the fault of size if a limit was exceeded before it."""
        return _too_large() if self._is_above_limit(self._scanned - self._consumed) else MalformedReplyError(message)


def _too_large() -> MalformedReplyError:
    return MalformedReplyError(f"a part of it is too large, above {MAX_ELEMENT_BYTES} bytes")


def _unescaped(name: bytes) -> bytes:
    """Return the name without escapes, in quotes; unchanged if it cannot be parsed."""
    try:
        return f'"{json_fallback.read(name)}"'.encode("utf-8", "surrogatepass")
    except ValueError:
        return name
