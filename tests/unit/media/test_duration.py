"""Durations of audio files: accuracy, and bounded work for invalid files."""

import asyncio
import dataclasses
import io
import os
import struct
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from embedwire_server.core.errors import UploadMismatch
from embedwire_server.media.duration import LEAST_WORK, LONGEST_SECONDS, MOST_WORK, duration_of
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.media.memory_budget import ContentMemory
from embedwire_server.media.spool import SpooledUpload, UploadDeclaration
from tests.support.media import flac, mp3, sound, tone, wav

SAMPLES = Path(__file__).parents[3] / "clients/python/examples/samples"
MANY = 1 << 20
MEMORY = ContentMemory(256 << 20).account(("a", "1"))
HUGE = 0xFFFFFFFF


@dataclasses.dataclass
class Counted:
    """A file that counts the bytes that are read."""

    data: bytes
    reads: int = 0
    bytes_read: int = 0

    async def ready(self) -> int:
        return len(self.data)

    async def chunks(self) -> AsyncGenerator[bytes]:
        yield self.data

    def read_at(self, offset: int, size: int) -> bytes:
        self.reads += 1
        self.bytes_read += size
        return self.data[offset : offset + size]

    def close(self) -> None:
        pass


async def received(data: bytes, directory: Path | None = None) -> SpooledUpload:
    """An upload with all of the data, in pieces that are not aligned to anything."""
    upload = SpooledUpload(UploadDeclaration("inputs[0].upload", 64 << 20), asyncio.Semaphore(1), MEMORY, directory)
    await upload.open()
    for start in range(0, len(data), 100_003):
        await upload.write(data[start : start + 100_003])
    await upload.finish()
    return upload


def judged(data: bytes) -> float:
    """Return the duration according to a decoder."""
    return float(soundfile.info(io.BytesIO(data)).duration)


def tagged(data: bytes, size: int = 300_000) -> bytes:
    """Prepend an ID3 tag of that size, full of bytes like MP3 frames."""
    synchsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\4\0\0" + synchsafe + (b"\xff\xfb\x90\x00" * (size // 4 + 1))[:size] + data


def without_xing(data: bytes) -> bytes:
    """Remove the frame count from an MP3 file."""
    assert b"Xing" in data
    return data.replace(b"Xing", bytes(4), 1)


def streaminfo(samples: int, rate: int) -> bytes:
    """The start of a FLAC file with this number of samples."""
    return b"fLaC\x80\0\0\x22" + bytes(10) + struct.pack(">Q", rate << 44 | 15 << 36 | samples) + bytes(16)


@pytest.mark.parametrize("container", ["WAV", "FLAC", "MP3"])
@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("seconds", [0.05, 1, 7.3, 60])
async def test_agrees_with_the_decoder(container: str, rate: int, seconds: float) -> None:
    """The duration of the header equals that of a decoder to 0.1 s."""
    data = sound(tone(seconds, rate=rate), container, rate)
    assert await duration_of(InMemoryContent(data)) == pytest.approx(judged(data), abs=0.1)


async def test_sample() -> None:
    """The example file has the duration that the README shows."""
    assert await duration_of(InMemoryContent((SAMPLES / "melody.flac").read_bytes())) == 20


@pytest.mark.parametrize("data", [wav(5), wav(60), flac(5), flac(130), mp3(5)], ids=len)
async def test_uploads(tmp_path: Path, data: bytes) -> None:
    """An upload has the duration of its file, in memory or on disk, and is complete afterwards."""
    upload = await received(data, tmp_path)
    chunks = upload.chunks()
    first = await anext(chunks)
    assert await duration_of(upload) == pytest.approx(judged(data), abs=0.1)
    assert first + b"".join([chunk async for chunk in chunks]) == data
    upload.close()


@pytest.mark.parametrize("data", [flac(3), mp3(3), without_xing(mp3(3))], ids=["flac", "mp3", "mp3 without Xing"])
async def test_tags_are_skipped(data: bytes) -> None:
    """A large tag before the audio costs no reads and does not change the duration."""
    content = Counted(tagged(data))
    assert await duration_of(content) == pytest.approx(3, abs=0.15)
    assert content.bytes_read < 2000


async def test_large_file_is_not_read() -> None:
    """Only the header of a large file is read."""
    content = Counted(wav(60))
    assert await duration_of(content) == 60
    assert content.bytes_read < 200


async def test_mp3_without_a_header() -> None:
    """An MP3 file without a frame count is estimated from its first 30 s."""
    content = Counted(without_xing(mp3(30, rate=44100)) * 20)
    assert await duration_of(content) == pytest.approx(600, rel=0.02)
    assert content.reads < 1300


@pytest.mark.parametrize("size", [HUGE, HUGE - 36, 1_000_000])
async def test_wav_that_was_written_into_a_pipe(size: int) -> None:
    """A WAV file with the largest size in its header, as written to a pipe, is measured by its data."""
    data = wav(3)
    data = data[:40] + struct.pack("<I", size) + data[44:]
    assert await duration_of(InMemoryContent(data)) == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(bytes(100_000), id="zeros"),
        pytest.param(b"this is no sound", id="text"),
        pytest.param(wav(1)[:30], id="cut WAV"),
        pytest.param(flac(1)[:20], id="cut FLAC"),
        pytest.param(mp3(1)[:3], id="cut MP3"),
        pytest.param(tagged(b""), id="nothing but a tag"),
        pytest.param(tagged(mp3(1))[:200_000], id="cut within its tag"),
        pytest.param(b"ID3\4\0\0\x7f\x7f\x7f\x7f" + mp3(1), id="a tag larger than the file"),
        pytest.param(wav(1).replace(struct.pack("<I", 16000), bytes(4)), id="WAV without a rate"),
        pytest.param(wav(0), id="WAV without samples"),
        pytest.param(streaminfo(0, 16000), id="FLAC of unknown length"),
        pytest.param(streaminfo(16000, 0), id="FLAC without a rate"),
        pytest.param(streaminfo(10 * 86400 * 1000 + 1, 1000), id="FLAC of more than ten days"),
        pytest.param(b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff" + bytes(2 * MANY), id="WAV with a header of 4 GiB"),
    ],
)
async def test_no_duration(data: bytes) -> None:
    """A file that is no audio, or whose header is implausible, has no duration."""
    assert await duration_of(InMemoryContent(data)) is None


async def test_longest() -> None:
    """A duration of just ten days is accepted."""
    assert await duration_of(InMemoryContent(streaminfo(10 * 86400 * 1000, 1000))) == LONGEST_SECONDS


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * MANY, id="WAV of empty chunks"),
        pytest.param(b"fLaC" + b"\1\0\0\0" * MANY, id="FLAC of empty blocks"),
        pytest.param(b"fLaC\4\0\0\0\0\0\0\0\xff\xff\xff\xff" + bytes(MANY), id="FLAC of 4 billion comments"),
        pytest.param(tagged(bytes(MANY), 0), id="MP3 of zeros"),
        pytest.param(b"\xff" * MANY, id="MP3 of sync bits"),
        pytest.param(b"\xff\xe0" * MANY, id="MP3 of broken frames"),
        pytest.param((b"OggS" + bytes(22) + b"\xff" + b"\1" * 510) * 2000, id="Ogg of tiny packets"),
        pytest.param(b"\0\0\0\x08ftyp" + b"\0\0\0\x08moov" * MANY, id="MP4 of empty atoms"),
        pytest.param(b"FORM\0\0\0\0AIFF" + b"junk\0\0\0\0" * MANY, id="AIFF of empty chunks"),
    ],
)
async def test_hostile_file(data: bytes) -> None:
    """Parsing of a file made to loop stops after a bounded number of reads."""
    content = Counted(data)
    assert await duration_of(content) is None
    assert content.reads <= MOST_WORK // LEAST_WORK
    assert content.bytes_read <= MOST_WORK


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A valid file with bytes overwritten, removed or inserted, possibly truncated."""
    data = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, draw(st.sampled_from([64, 4096, len(data)]))))
        data[start : start + draw(st.integers(0, 16))] = draw(ODD | st.binary(max_size=16))
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


GOOD = [wav(0.5), flac(0.5), mp3(2), without_xing(mp3(2)), tagged(mp3(0.5), 200), tagged(flac(0.5), 200)]
ODD = st.sampled_from([bytes(4), b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0"])


@settings(deadline=None, max_examples=150)
@given(data=mutations() | st.binary(max_size=2000))
def test_mutations(data: bytes) -> None:
    """A mutated file has a plausible duration or None, after bounded work."""
    content = Counted(data)
    seconds = asyncio.run(duration_of(content))
    assert seconds is None or 0 < seconds <= LONGEST_SECONDS
    assert content.bytes_read <= MOST_WORK
    assert content.reads <= MOST_WORK // LEAST_WORK


async def test_waits_for_the_file() -> None:
    """The duration of an upload is available once the upload is complete."""
    data = wav(1)
    upload = SpooledUpload(UploadDeclaration("inputs[0].upload", MANY), asyncio.Semaphore(1), MEMORY)
    asked = asyncio.create_task(duration_of(upload))
    await upload.open()
    await upload.write(data)
    await asyncio.sleep(0)
    assert not asked.done()
    await upload.finish()
    assert await asked == 1
    upload.close()


async def test_faulty_file() -> None:
    """A file with a fault raises it instead of returning a duration."""
    upload = await received(b"")
    with pytest.raises(UploadMismatch):
        await duration_of(upload)
    upload.close()


@pytest.mark.parametrize("seconds", [5, 60], ids=["in memory", "on disk"])
async def test_closed_before_it_is_read(tmp_path: Path, seconds: float) -> None:
    """A file closed before the thread reads it has no duration, and never that of another file."""
    executor, thread_is_busy = ThreadPoolExecutor(1), threading.Event()
    asyncio.get_running_loop().set_default_executor(executor)
    upload = await received(wav(seconds), tmp_path)
    executor.submit(thread_is_busy.wait)
    asked = asyncio.create_task(duration_of(upload))
    await asyncio.sleep(0)
    upload.close()
    (tmp_path / "other").write_bytes(flac(1))
    others = [os.open(tmp_path / "other", os.O_RDONLY) for _ in range(8)]  # reuses the free descriptor
    thread_is_busy.set()
    assert await asked is None
    for other in others:
        os.close(other)


@dataclasses.dataclass
class Slow(Counted):
    """A file whose read blocks until it is released, and then finds it closed."""

    asked: threading.Event = dataclasses.field(default_factory=threading.Event)
    may: threading.Event = dataclasses.field(default_factory=threading.Event)

    def read_at(self, offset: int, size: int) -> bytes:
        self.asked.set()
        self.may.wait()
        self.reads += 1
        raise ValueError(f"closed before {size} bytes at {offset}")


async def test_cancelled_while_it_is_read() -> None:
    """Cancellation does not wait for the thread, which ends at the closed file."""
    executor = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    content = Slow(wav(1))
    asked = asyncio.create_task(duration_of(content))
    while not content.asked.is_set():
        await asyncio.sleep(0.001)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    content.may.set()
    await asyncio.to_thread(bool)  # runs after the read
    assert content.reads == 1
