"""Packed float32 vectors as arrays: numpy's where numpy is installed, else the standard library's."""

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
    except (ImportError, ValueError):  # somebody has blocked it on purpose
        return False


HAS_NUMPY = _is_installed("numpy")

Encoding = Literal["float_values", "float32_le"]

_ENCODINGS: "dict[str | None, pb.VectorEncoding.ValueType]" = {
    None: pb.VECTOR_ENCODING_FLOAT32_LE,  # the cheapest to read
    "float_values": pb.VECTOR_ENCODING_FLOAT_VALUES,
    "float32_le": pb.VECTOR_ENCODING_FLOAT32_LE,
}


class Vector(Protocol):
    """The float32 values of one embedding.

    With numpy (the extra `embedwire[numpy]`) it is a read-only `numpy.ndarray` of float32 and of shape
    (dimensions,), a view of the message without a copy; without, an `array.array("f")`. What is named here
    both can do; `numpy.asarray` takes both without a copy.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...  # noqa: ANN401 - a number, or a part of the vector

    def __iter__(self) -> Iterator[Any]: ...

    def tolist(self) -> Any:  # noqa: ANN401 - numpy cannot say that it is a list of floats
        """The values as Python floats, each exactly the float32 that it was."""
        ...


def load() -> None:
    """Import numpy, if it is there: not with this package, since it takes as long, nor with the first segment."""
    if HAS_NUMPY:
        importlib.import_module("numpy")


def encoding(chosen: Encoding | None) -> "pb.VectorEncoding.ValueType":
    """What a request asks for.

    Raises:
        ValueError: there is no such encoding.
    """
    if chosen not in _ENCODINGS:
        raise ValueError(f"encoding: must be 'float_values', 'float32_le' or None, got {chosen!r}")
    return _ENCODINGS[chosen]


def decode(message: pb.Vector) -> Vector:
    """Read a vector of either encoding of the contract (`embedwire.v1.VectorEncoding`)."""
    if message.encoding == pb.VECTOR_ENCODING_FLOAT32_LE:
        return _from_bytes(message.data)
    if message.encoding in (pb.VECTOR_ENCODING_UNSPECIFIED, pb.VECTOR_ENCODING_FLOAT_VALUES):
        return _from_values(message.values)
    raise ValueError(f"unknown encoding {message.encoding}")


def _from_bytes(data: bytes) -> Vector:
    if HAS_NUMPY:
        import numpy as np  # noqa: PLC0415 - an extra

        return np.frombuffer(data, dtype="<f4")
    values = array.array("f", data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _from_values(values: Any) -> Vector:  # noqa: ANN401 - protobuf's repeated field
    if HAS_NUMPY:
        import numpy as np  # noqa: PLC0415 - an extra

        found = np.array(values, dtype=np.float32)
        found.flags.writeable = False
        return found
    return array.array("f", values)
