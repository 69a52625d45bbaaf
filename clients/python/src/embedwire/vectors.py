"""Decoding of float32 vectors to numpy arrays if numpy is installed, else to `array.array`."""

import array
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any, Literal, Protocol

from embedwire.v1 import embedding_pb2 as pb


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # its import is blocked
        return False


HAS_NUMPY = _is_installed("numpy")

Encoding = Literal["float_values", "float32_le"]

_ENCODINGS: "dict[str | None, pb.VectorEncoding.ValueType]" = {
    None: pb.VECTOR_ENCODING_FLOAT32_LE,  # the fastest to decode
    "float_values": pb.VECTOR_ENCODING_FLOAT_VALUES,
    "float32_le": pb.VECTOR_ENCODING_FLOAT32_LE,
}


class Vector(Protocol):
    """Float32 values of one embedding; the common interface of both vector types.

    With numpy (the extra `embedwire[numpy]`), a vector is a read-only `numpy.ndarray` of float32 and of shape
    (dimensions,); in the default encoding it is a view of the message without a copy. Without numpy, it is an
    `array.array("f")`. `numpy.asarray` accepts both without a copy.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...  # noqa: ANN401 - a number or a slice

    def __iter__(self) -> Iterator[Any]: ...

    def tolist(self) -> Any:  # noqa: ANN401 - as numpy annotates it
        """Return the values as Python floats, each exactly equal to the float32."""
        ...


def preload_numpy() -> None:
    """Import numpy if it is installed: it would slow the import of this package, or delay the first segment."""
    if HAS_NUMPY:
        importlib.import_module("numpy")


def encoding(chosen: Encoding | None) -> "pb.VectorEncoding.ValueType":
    """Return the enum value of an encoding.

    Raises:
        ValueError: the encoding is unknown.
    """
    if chosen not in _ENCODINGS:
        raise ValueError(f"encoding: must be 'float_values', 'float32_le' or None, got {chosen!r}")
    return _ENCODINGS[chosen]


def decode(message: pb.Vector) -> Vector:
    """Decode a vector of either encoding (`embedwire.v1.VectorEncoding`).

    Raises:
        ValueError: the encoding is unknown, or the number of bytes is not a multiple of 4.
    """
    form = message.WhichOneof("form")
    if form == "float32_le":
        return _from_bytes(message.float32_le)
    if form == "float_values":
        return _from_values(message.float_values.values)
    raise ValueError("unknown encoding")


def _from_bytes(data: bytes) -> Vector:
    if HAS_NUMPY:
        import numpy as np  # noqa: PLC0415 - optional

        return np.frombuffer(data, dtype="<f4")
    values = array.array("f", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _from_values(values: Any) -> Vector:  # noqa: ANN401 - a repeated field
    if HAS_NUMPY:
        import numpy as np  # noqa: PLC0415 - optional

        found = np.array(values, dtype=np.float32)
        found.flags.writeable = False
        return found
    return array.array("f", values)
