"""The client's dependencies: grpcio, protobuf and the standard library."""

import subprocess
import sys

import pytest

ALONE = """
import sys

class Blocked:
    names = {"numpy", "typer", "rich", "matplotlib", "httpx", "pydantic", "aiohttp", "embedwire_server"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names or name.startswith("google.rpc"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
import asyncio
import embedwire, embedwire.details
from embedwire import AsyncClient, Audio, Client, Text, UnreachableError

for name in embedwire.__all__:
    getattr(embedwire, name)
target = sys.argv[1]
with Client(target) as client:
    embedding = client.embed("m", Text("a"), timeout=10)
    assert list(embedding.vector) == [1.0, 2.0]
    assert client.embed_unary("m", Text("a"), timeout=10).vector.tolist() == [1.0, 2.0]
    client.embed("m", Audio(chunks=[b"a"]), timeout=10)
    assert client.models()[0].name == "m"

async def main():
    async with AsyncClient(target) as client:
        return await client.embed("m", [Text("a"), Audio(chunks=[b"a"])], timeout=10)

assert len(asyncio.run(main())) == 2
assert "google.rpc" not in sys.modules and "numpy" not in sys.modules
"""

BESIDE = """
import sys
order = sys.argv[1]
if order == "before":
    from google.rpc import error_details_pb2, status_pb2
import grpc
from embedwire.details import DETAILS_KEY, error_from_call
if order == "after":
    from google.rpc import error_details_pb2, status_pb2

class Call:
    def code(self): return grpc.StatusCode.RESOURCE_EXHAUSTED
    def details(self): return "busy"
    def trailing_metadata(self): return [(DETAILS_KEY, encoded)]

message = status_pb2.Status(code=8, message="busy")
info = error_details_pb2.ErrorInfo(reason="OVERLOADED", domain="embedwire", metadata={"attempts": "2"})
retry = error_details_pb2.RetryInfo()
retry.retry_delay.FromMilliseconds(1500)
for detail in (retry, info):
    message.details.add().Pack(detail)
encoded = message.SerializeToString()
error = error_from_call(Call(), "id")
assert (error.reason, error.retry_delay, error.attempts) == ("OVERLOADED", 1.5, 2), error
again = error_details_pb2.ErrorInfo()
assert message.details[1].Unpack(again) and again == info
"""


def run(program: str, *arguments: str) -> None:
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert ran.returncode == 0, ran.stderr


def test_grpc_and_protobuf_are_enough(served_by_thread: str) -> None:
    """Both client classes work without numpy, with no other package than grpcio and protobuf."""
    run(ALONE, served_by_thread)


@pytest.mark.parametrize("order", ["before", "after"])
def test_the_common_protos_do_not_clash(order: str) -> None:
    """googleapis-common-protos, imported before or after the client, does not conflict with its descriptors."""
    run(BESIDE, order)
