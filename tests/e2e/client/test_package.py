"""The client's dependencies: grpcio, protobuf, the common protos and the standard library."""

import subprocess
import sys

ALONE = """
import sys

class Blocked:
    names = {"numpy", "typer", "rich", "matplotlib", "httpx", "pydantic", "aiohttp", "embedwire_server"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
import asyncio
import embedwire, embedwire.details
from embedwire import AsyncClient, Audio, Client, Text, TransportError

for name in embedwire.__all__:
    getattr(embedwire, name)
target = sys.argv[1]
with Client(target) as client:
    embedding = client.embed("m", Text("a"), timeout=10)
    assert list(embedding.vector) == [1.0, 2.0]
    assert len(client.embed("m", [Text("a"), Text("b")], timeout=10)) == 2
    client.embed("m", Audio(chunks=[b"a"]), timeout=10)
    assert client.models()[0].name == "m"

async def main():
    async with AsyncClient(target) as client:
        return await client.embed("m", [Text("a"), Audio(chunks=[b"a"])], timeout=10)

assert len(asyncio.run(main())) == 2
assert "numpy" not in sys.modules
"""


def run(program: str, *arguments: str) -> None:
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert ran.returncode == 0, ran.stderr


def test_the_extras_are_not_needed(served_by_thread: str) -> None:
    """Both client classes work without numpy and without the packages of the command and of the server."""
    run(ALONE, served_by_thread)
