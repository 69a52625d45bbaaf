"""Counts the frames of an MP3 file: without a count in its header, libsndfile guesses from the first frames.

Each frame has its length in its header, so counting needs no decoding.
"""

import re
import struct
from collections.abc import Callable
from typing import IO, Final, NamedTuple

_BLOCK_BYTES: Final = 1 << 16
_MAX_GARBAGE_BYTES: Final = 1 << 16  # in front of a frame
_HEAD_BYTES: Final = 4
_ID3_BYTES: Final = 10
_SYNC: Final = re.compile(rb"\xff[\xe0-\xff]")
_KBITS: Final = {  # of layer III, by the index in the header; 0 is any other, without a known frame length
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
_RATES: Final = {3: (44_100, 48_000, 32_000, 0), 2: (22_050, 24_000, 16_000, 0), 0: (11_025, 12_000, 8_000, 0)}
_VERSION_1: Final = 3
_LAYER_3: Final = 1
_MONO: Final = 3
_SIDE_BYTES: Final = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}
_VBRI_OFFSET: Final = _HEAD_BYTES + 32
_HAS_FRAMES: Final = 1  # a flag of a Xing tag


class _Frame(NamedTuple):
    length: int
    tag: int  # offset of the Xing tag in the first frame, if there is one
    kind: bytes  # header bits that all frames of a file share


def is_mpeg(head: bytes) -> bool:
    """Whether a file with this beginning may be MPEG audio."""
    return head[:3] == b"ID3" or _SYNC.match(head) is not None


def beginning(file: IO[bytes], size: int, check: Callable[[], None]) -> tuple[bytes, int] | None:
    """Return a first frame with a Xing tag that has the number of frames, and the number of bytes that it replaces.

    `None` if the file has the right number already, or is not layer III. A truncated file is left unchanged.

    Args:
        file: The file.
        size: Its size in bytes.
        check: Called regularly; raises to stop.
    """
    position = _first(file)
    data = _read(file, position, _BLOCK_BYTES)
    frame = _frame(data)
    if frame is None or len(data) < frame.length:
        return None
    first = bytearray(data[: frame.length])
    name, flags, declared = _tag(first, frame)
    after = position + frame.length if name else position
    count = _count(file, after, size, frame.kind, check)
    if name in {b"Xing", b"Info"} and flags & _HAS_FRAMES:
        if count in {declared, 0} or count < declared - 1:  # some encoders count the frame of the tag as well
            return None
        first[frame.tag + 8 : frame.tag + 12] = struct.pack(">I", count)
        return bytes(first), after
    made = _with_tag(frame, bytes(first[:_HEAD_BYTES]), count)
    return (made, after) if made else None


def _first(file: IO[bytes]) -> int:
    """Return the position of the first frame: behind an ID3 tag, whose length is encoded in 7 bits per byte."""
    head = _read(file, 0, _ID3_BYTES)
    if head[:3] != b"ID3" or len(head) < _ID3_BYTES:
        return 0
    length = 0
    for digit in head[6:]:
        length = length << 7 | digit & 0x7F
    return _ID3_BYTES + length


def _frame(head: bytes) -> _Frame | None:
    if len(head) < _HEAD_BYTES or not _SYNC.match(head) or head[1] >> 1 & 3 != _LAYER_3:
        return None
    version = head[1] >> 3 & 3
    is_1 = version == _VERSION_1
    rate = _RATES.get(version, (0, 0, 0, 0))[head[2] >> 2 & 3]
    kbits = _KBITS[is_1][head[2] >> 4]
    if not rate or not kbits:
        return None
    length = (144 if is_1 else 72) * 1_000 * kbits // rate + (head[2] >> 1 & 1)
    tag = _HEAD_BYTES + _SIDE_BYTES[is_1, head[3] >> 6 == _MONO]
    return _Frame(length, tag, bytes((head[1] & 0xFE, head[2] & 0x0C)))


def _tag(first: bytearray, frame: _Frame) -> tuple[bytes, int, int]:
    """Return the name of the tag in the first frame, its flags and its number of frames; no name if there is no tag."""
    if first[_VBRI_OFFSET : _VBRI_OFFSET + 4] == b"VBRI":
        return b"VBRI", 0, 0
    name, numbers = bytes(first[frame.tag : frame.tag + 4]), bytes(first[frame.tag + 4 : frame.tag + 12])
    if name not in {b"Xing", b"Info"} or len(numbers) < 8:  # noqa: PLR2004
        return b"", 0, 0
    flags, declared = struct.unpack(">II", numbers)
    return name, flags, declared


def _with_tag(frame: _Frame, head: bytes, count: int) -> bytes | None:
    tag = bytes(frame.tag - _HEAD_BYTES) + b"Xing" + struct.pack(">II", _HAS_FRAMES, count)
    length = frame.length - _HEAD_BYTES
    # Without a checksum, which would not match the new frame.
    return bytes((head[0], head[1] | 1, *head[2:])) + tag.ljust(length, b"\0") if len(tag) <= length else None


def _count(file: IO[bytes], position: int, size: int, kind: bytes, check: Callable[[], None]) -> int:
    """Count the complete frames from `position` on."""
    count, garbage = 0, 0
    data, base = b"", position
    while garbage < _MAX_GARBAGE_BYTES:
        if position + _HEAD_BYTES > base + len(data):
            check()
            data, base = _read(file, position, _BLOCK_BYTES), position
        at = position - base
        frame = _frame(data[at : at + _HEAD_BYTES])
        if frame is not None and frame.kind == kind:
            position, count, garbage = position + frame.length, count + (position + frame.length <= size), 0
        else:
            garbage, position = garbage + 1, position + 1
        if position + _HEAD_BYTES > size:
            break
    return count


def _read(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
