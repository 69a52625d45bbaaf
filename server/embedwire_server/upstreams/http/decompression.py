"""Decompresses responses with a content coding, in bounded steps.

The server asks for none, but some upstreams and proxies compress all the same. Deflate can expand a thousandfold, so
each step produces at most `STEP_BYTES`, and the next one runs only when those have been used. So the memory of all
responses is bounded by that and by their number, however far they expand.
"""

import zlib

STEP_BYTES = 64 << 10
INPUT_BYTES = 16 << 10  # zlib copies what it has not used yet at each step

_GZIP, _DEFLATE = "gzip", "deflate"
_NAMES = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _DEFLATE}
_UNSUPPORTED = {"br", "zstd", "compress", "x-compress"}  # any other name is no compression: "utf-8", "none"
_MAX_CODINGS = 4  # applied one after the other
_GZIP_MAGIC = b"\x1f\x8b"
_ZLIB_METHOD = 8  # in the low half of the first byte of the zlib format; a raw deflate stream has none like it


class DecompressionError(Exception):
    """The response cannot be decompressed; the text says why."""


class Decompressor:
    """Streaming decompressor of one body: `feed` it when it `needs_input`, get output from `step`, `finish` at the end.

    Args:
        content_encoding: the header's value; several headers joined by commas.

    Raises:
        DecompressionError: the coding is not supported, or the body is not in it.
    """

    def __init__(self, content_encoding: str) -> None:
        self._stages = [_Stage(coding) for coding in reversed(_codings(content_encoding))]  # the last applied first
        self._input: list[bytes] = []

    @property
    def needs_input(self) -> bool:
        """Whether `step` has no more output for what was fed."""
        return not self._input and all(stage.needs_input for stage in self._stages)

    def feed(self, data: bytes) -> None:
        """Add bytes of the body, once all that were fed before have been used."""
        self._input = [data[start : start + INPUT_BYTES] for start in range(0, len(data), INPUT_BYTES)][::-1]

    def step(self) -> bytes:
        """Decompress some of what was fed; the output may be empty. Each stage is emptied before it is fed again."""
        if self._input and all(stage.needs_input for stage in self._stages):
            self._stages[0].feed(self._input.pop())
        index = max((i for i, stage in enumerate(self._stages) if not stage.needs_input), default=0)
        output = self._stages[index].step()
        if index + 1 == len(self._stages):
            return output
        if output:
            self._stages[index + 1].feed(output)
        return b""

    def finish(self) -> None:
        """Check that the body was complete."""
        for stage in self._stages:
            stage.finish()


class _Stage:
    """Decompresses one coding; see `Decompressor`."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._member: zlib._Decompress | None = None  # a gzip body may have several
        self._input = b""
        self._is_between_members = False
        self._is_ended = False  # what follows is padding, or garbage that every other client ignores
        self.needs_input = True

    def feed(self, data: bytes) -> None:
        """Add bytes of the body."""
        self._input += data
        self.needs_input = False

    def step(self) -> bytes:
        """Decompress some of what was fed; the output may be empty."""
        data, self._input = self._input, b""
        if not self._coding or self._is_ended:
            self.needs_input = True
            return b"" if self._is_ended else data
        if self._member is None:
            self._begin_member(data)
            return b""
        return self._decompress(self._member, data)

    def finish(self) -> None:
        """Check that the body was complete."""
        if self._member is not None or (self._input and not self._is_between_members):
            raise DecompressionError(f"its content coding {self._coding} ends too early")

    def _begin_member(self, data: bytes) -> None:
        if self._is_between_members:
            data = data.lstrip(b"\0")
        first = data[: len(_GZIP_MAGIC)]
        if len(first) < len(_GZIP_MAGIC):
            self._input, self.needs_input = data, True
        elif self._coding == _DEFLATE:
            is_raw = first[0] & 0x0F != _ZLIB_METHOD
            self._member, self._input = zlib.decompressobj(-zlib.MAX_WBITS if is_raw else zlib.MAX_WBITS), data
        elif self._is_between_members and first != _GZIP_MAGIC:
            self._is_ended = self.needs_input = True
        else:
            self._member, self._input = zlib.decompressobj(zlib.MAX_WBITS | 16), data

    def _decompress(self, member: "zlib._Decompress", data: bytes) -> bytes:
        try:
            output = member.decompress(data, STEP_BYTES)
        except zlib.error as error:
            raise DecompressionError(f"it is not in its content coding {self._coding}") from error
        if member.eof:
            self._member, self._is_between_members = None, True
            self._is_ended = self._coding != _GZIP
            self._input = member.unused_data
            self.needs_input = not self._input
        else:
            self._input = member.unconsumed_tail
            # Without a tail, zlib may still hold output that did not fit.
            self.needs_input = not self._input and len(output) < STEP_BYTES
        return output


def _codings(content_encoding: str) -> list[str]:
    """Return the codings that compress, in the order in which they were applied; one empty name if there is none."""
    names = [name.strip() for name in content_encoding.lower().split(",")]
    for name in names:
        if name in _UNSUPPORTED:
            raise DecompressionError(f"its content coding {name} is not supported; the server asks for identity")
    codings = [_NAMES[name] for name in names if name in _NAMES]
    if len(codings) > _MAX_CODINGS:
        raise DecompressionError(f"it is compressed more than {_MAX_CODINGS} times")
    return codings or [""]
