"""Helpers of the tests of uploads."""

import asyncio
from pathlib import Path

from embedwire_server.core.inputs import Content
from embedwire_server.media.memory_budget import ContentMemory
from embedwire_server.media.spool import SpooledUpload, UploadDeclaration

LIMIT = 8 << 20


def upload(
    directory: Path | None = None,
    *,
    limit: int = LIMIT,
    size: int | None = None,
    sha256: bytes | None = None,
    slots: asyncio.Semaphore | None = None,
    memory: ContentMemory | None = None,
) -> SpooledUpload:
    announced = UploadDeclaration("inputs[0].upload", limit, size, sha256)
    account = (memory or ContentMemory(256 << 20)).account(("a", "1"))
    return SpooledUpload(announced, slots or asyncio.Semaphore(1), account, directory)


async def received(file: SpooledUpload, data: bytes, chunk: int = 256 << 10) -> None:
    """Send the whole file to the upload."""
    await file.open()
    for at in range(0, len(data), chunk):
        await file.write(data[at : at + chunk])
    await file.finish()


async def read(content: Content) -> bytes:
    return b"".join([chunk async for chunk in content.chunks()])


def spooled(directory: Path) -> bool:
    """Return whether this process has an unnamed file open in the directory."""
    links = []
    for fd in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(fd.readlink()))
        except FileNotFoundError:
            continue
    return any(link.startswith(str(directory)) for link in links)
