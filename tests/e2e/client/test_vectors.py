"""Vectors in both forms, with numpy and without."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire import GatewayError
from embedwire.v1 import embedding_pb2 as pb
from embedwire.vectors import decode
from tests.e2e.client.callers import PICTURE, Connect
from tests.e2e.client.services import answering, result, segment, service, vector

VALUES = [0.1, -0.0, 1e-45, 3.4028234663852886e38, -1.5, 0.3333333432674408, 16777217.0]
AS_FLOAT32 = list(struct.unpack(f"<{len(VALUES)}f", struct.pack(f"<{len(VALUES)}f", *VALUES)))

PROGRAM = """
import json, sys
sys.modules["numpy"] = None  # an import of it fails
import array
from embedwire import Embedding, Result, Segment, Timings
from embedwire.replies import segment, result
from embedwire.v1 import embedding_pb2 as pb
from embedwire.vectors import HAS_NUMPY
assert not HAS_NUMPY
found = []
for line in sys.stdin:
    part = segment(pb.Segment.FromString(bytes.fromhex(line)))
    assert isinstance(part.vector, array.array) and part.vector.typecode == "f"
    assert len(part.vector) == len(list(part.vector))
    found.append(part.vector.tolist())
embedding = Embedding(result(pb.InputResult(), "id"), (part,))
assert embedding.vector is part.vector
try:
    embedding.matrix()
except ImportError as error:
    assert "embedwire[numpy]" in str(error)
else:
    raise AssertionError
print(json.dumps(found))
"""


def by_values(values: list[float]) -> pb.Vector:
    return pb.Vector(dimensions=len(values), float_values=pb.FloatValues(values=values))


def test_equal_values_without_numpy() -> None:
    """Without numpy vectors are standard library arrays with equal values; matrix() names the missing package."""
    messages = [pb.Segment(vector=vector(VALUES)), pb.Segment(vector=by_values(VALUES))]
    lines = "\n".join(message.SerializeToString().hex() for message in messages)
    ran = subprocess.run([sys.executable, "-c", PROGRAM], input=lines, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [AS_FLOAT32, AS_FLOAT32]
    assert [decode(message.vector).tolist() for message in messages] == [AS_FLOAT32, AS_FLOAT32]


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=20))
def test_both_forms_are_the_same(values: list[float]) -> None:
    """Packed and repeated values give the same float32, bit for bit."""
    packed, repeated = decode(vector(values)), decode(by_values(values))
    assert isinstance(packed, np.ndarray)
    assert isinstance(repeated, np.ndarray)
    assert packed.dtype == repeated.dtype == np.float32
    assert packed.tobytes() == repeated.tobytes() == struct.pack(f"<{len(values)}f", *values)
    assert packed.shape == repeated.shape == (len(values),)


def test_a_packed_vector_is_a_view() -> None:
    """A packed vector is a read-only view of the message's own bytes, not a copy."""
    message = vector(VALUES)
    found = decode(message)
    assert isinstance(found, np.ndarray)
    assert not found.flags.writeable
    assert not found.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1.0
    assert found.tolist() == AS_FLOAT32


def test_a_vector_of_values_is_read_only() -> None:
    """A vector of a server that ignores the encoding is read-only too."""
    found = decode(by_values(VALUES))
    assert isinstance(found, np.ndarray)
    assert not found.flags.writeable


async def test_a_server_that_ignores_the_encoding(connect: Connect) -> None:
    """Vectors as numbers are read although packed ones were requested."""
    sent = segment(vector=by_values(VALUES)), result()
    async with service(CreateEmbedding=answering(*sent)) as target, connect(target) as client:
        embedding = await client.embed("m", PICTURE, timeout=10)

    assert embedding.vector.tolist() == AS_FLOAT32
    assert embedding.matrix().dtype == np.float32


async def test_an_unknown_form_is_no_empty_vector(connect: Connect) -> None:
    """A vector in an unknown form is an error, and not a vector without values."""
    strange = pb.Vector.FromString(pb.Vector(dimensions=2).SerializeToString() + b"\x7a\x02hi")  # field 15
    sent = segment(vector=strange), result()
    async with service(CreateEmbedding=answering(*sent)) as target, connect(target) as client:
        with pytest.raises(GatewayError) as caught:
            await client.embed("m", PICTURE, timeout=10)
    assert (caught.value.code, caught.value.reason) == ("INTERNAL", "INTERNAL")


@pytest.mark.parametrize("chosen", [by_values(VALUES), vector(VALUES)], ids=["float_values", "float32_le"])
async def test_uncertainty_is_decoded_like_a_vector(connect: Connect, chosen: pb.Vector) -> None:
    """The uncertainty of a segment is a vector of the same type as its embedding; None if there is none."""
    create = answering(segment(uncertainty=chosen), result(), segment(1), result(1))
    async with service(CreateEmbedding=create) as target, connect(target) as client:
        with_it, without = await client.embed("m", [PICTURE, PICTURE], include_uncertainty=True, timeout=10)

    found = with_it.segments[0].uncertainty
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    assert found.tolist() == AS_FLOAT32
    assert without.segments[0].uncertainty is None
