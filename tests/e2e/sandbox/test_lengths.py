"""Audio files whose header leaves the length open, or has a false one."""

import asyncio
import struct
import threading
import time
import tracemalloc

import numpy as np
import pytest

from embedwire_sandbox import Fault, Sandbox, SandboxOptions
from embedwire_sandbox.errors import MediaError, RefusalError
from embedwire_sandbox.media.background import Stop, StoppedError, Threads
from embedwire_sandbox.models import MARENGO_27, MARENGO_30, Model
from embedwire_sandbox.v1.result import Segment
from embedwire_sandbox.v1.segments import audio_segments
from tests.e2e.sandbox.test_audio import OPTIONS, segments, upload
from tests.support.media import flac, mp3, sound, tone, wav

MELODY = np.concatenate([tone(2, hertz) for hertz in (262, 330, 392, 523, 330, 262, 294)])
FLAC, LONGER, MP3 = sound(MELODY), sound(np.tile(MELODY, 2)), sound(MELODY, "MP3")


def with_samples(content: bytes, samples: int) -> bytes:
    """A FLAC file whose header has that number of samples; 0 leaves it open."""
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36 | samples
    return content[:18] + packed.to_bytes(8, "big") + content[26:]


def with_sizes(content: bytes, data: int, riff: int | None = None) -> bytes:
    """A WAV file whose header has these sizes."""
    at = content.index(b"data") + 4
    changed = content[:at] + struct.pack("<I", data) + content[at + 4 :]
    return changed if riff is None else changed[:4] + struct.pack("<I", riff) + changed[8:]


def with_frames(content: bytes, frames: int, flags: int = 15) -> bytes:
    """An MP3 file whose tag has that number of frames."""
    at = content.index(b"Xing") + 4
    return content[:at] + struct.pack(">II", flags, frames) + content[at + 8 :]


def without_tag(content: bytes) -> bytes:
    """An MP3 file that begins with its first frame of audio."""
    return content[content.index(content[:2], 4) :]


def is_same(found: list[Segment], expected: list[Segment], least: float = 0.9999) -> bool:
    stretches = [[(each.start_offset_sec, each.end_offset_sec) for each in some] for some in (found, expected)]
    return stretches[0] == stretches[1] and all(
        one.vector @ other.vector > least for one, other in zip(found, expected, strict=True)
    )


OPEN = {
    "FLAC": with_samples(FLAC, 0),
    "FLAC, longer": with_samples(LONGER, 0),
    "WAV, all ones": with_sizes(wav(14), 0xFFFFFFFF, 0xFFFFFFFF),
    "WAV, as arecord": with_sizes(wav(14), 0x7FFFFFD8, 0x7FFFFFFC),
    "WAV, zeros": with_sizes(wav(14), 0, 0),
    "WAV, no data": with_sizes(wav(14), 0, 36),
    "WAV, only data": with_sizes(wav(14), 0),
    "MP3, no frames": with_frames(MP3, 0),
    "MP3, one frame": with_frames(MP3, 1),
    "MP3, a few frames": with_frames(MP3, 20),
}
COMPLETE = {
    "FLAC": FLAC,
    "FLAC, longer": LONGER,
    **{name: wav(14) for name in OPEN if name.startswith("WAV")},
    **{name: MP3 for name in OPEN if name.startswith("MP3")},
}


@pytest.mark.parametrize("start", [0.0, 2.5])
@pytest.mark.parametrize("model", [MARENGO_30, MARENGO_27], ids=lambda model: model.name)
@pytest.mark.parametrize("name", OPEN)
def test_open_length(name: str, model: Model, start: float) -> None:
    """A file without a length has the segments of the same file with its length."""
    assert is_same(segments(OPEN[name], model, start), segments(COMPLETE[name], model, start))


def test_mp3_without_a_tag() -> None:
    """An MP3 file of variable bit rate without a tag is decoded to its end."""
    whole, bare = segments(MP3), segments(without_tag(MP3))
    assert len(bare) == len(whole)
    assert bare[-1].end_offset_sec == pytest.approx(14, abs=0.1)
    pairs = zip(bare, whole, strict=True)
    assert all(one.vector @ other.vector > 0.9 for one, other in pairs if one.embedding_option == "audio")


def test_mp3_with_garbage() -> None:
    """A tag before an MP3 file, and another behind it, do not change its segments."""
    tag = b"ID3\4\0\0\0\0\2\0" + bytes(256)
    tagged = tag + with_frames(MP3, 0) + b"TAG" + bytes(125)
    assert is_same(segments(tagged), segments(MP3))


@pytest.mark.parametrize("model", [MARENGO_30, MARENGO_27], ids=lambda model: model.name)
@pytest.mark.parametrize("start", [15.0, 1e6])
def test_start_beyond_an_open_length(model: Model, start: float) -> None:
    """A start beyond the end is refused with the real length, also if the header has none."""
    with pytest.raises(RefusalError, match=r"14\.000 seconds"):
        segments(OPEN["FLAC"], model, start)


FALSE = {
    "FLAC, 2^36 - 1 samples": with_samples(flac(2), (1 << 36) - 1),
    "FLAC, 2^35 samples": with_samples(flac(2), 1 << 35),
    "MP3, 2^32 - 1 frames": with_frames(mp3(2), 0xFFFFFFFF),
    "MP3, 2^31 - 1 frames": with_frames(mp3(2), 0x7FFFFFFF),
}


@pytest.mark.parametrize("start", [0.0, 1.0, 1e5])
@pytest.mark.parametrize("model", [MARENGO_30, MARENGO_27], ids=lambda model: model.name)
@pytest.mark.parametrize("name", FALSE)
def test_false_length(name: str, model: Model, start: float) -> None:
    """A file whose header has days of audio and which ends after two seconds is an error, in little memory."""
    tracemalloc.start()
    with pytest.raises((MediaError, RefusalError)):
        segments(FALSE[name], model, start)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def wav_head(channels: int, rate: int, bits: int, data: int = 64) -> bytes:
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    return b"RIFF" + struct.pack("<I", 36 + data) + b"WAVEfmt \x10\0\0\0" + form + b"data" + struct.pack("<I", data)


@pytest.mark.parametrize(
    "content",
    [
        wav_head(1, 1, 16) + bytes(64),
        wav_head(1, 0, 16) + bytes(64),
        wav_head(1, 0x7FFFFFFF, 16) + bytes(64),
        wav_head(1, 0xFFFFFFFF, 16) + bytes(64),
        wav_head(0, 16000, 16) + bytes(64),
        wav_head(255, 16000, 16) + bytes(64),
        wav_head(65535, 16000, 16) + bytes(64),
        wav_head(1, 16000, 0) + bytes(64),
        wav_head(1, 16000, 65535) + bytes(64),
        wav_head(1, 16000, 16, 0),
        wav_head(1, 16000, 16, 0) + b"LIST\4\0\0\0INFO",
        b"RIFF\0\0\0\0WAVE" + (b"junk" + bytes(4)) * 5000,
        b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff" + bytes(100),
        flac(1)[:42],
        b"fLaC\x80\xff\xff\xff" + bytes(100),
        b"\xff\xfb\x90\x64" + bytes(100),
        b"\xff" * 200_000,
        b"\xff\xfb\xf0\x00" * 1000,
        b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(100),
    ],
)
def test_false_headers(content: bytes) -> None:
    """A header with impossible values is an error, soon and in little memory."""
    tracemalloc.start()
    with pytest.raises(MediaError):
        segments(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("content", [wav(30), with_samples(flac(30), 0)], ids=["known", "open"])
def test_longest(content: bytes) -> None:
    """At most that many samples are decoded; the message has the limit in seconds."""
    with upload(content) as given, pytest.raises(MediaError, match="20 seconds"):
        list(audio_segments(given, MARENGO_30, 0.0, SandboxOptions(max_audio_samples=20 * 16000)))


def test_decoding_stops() -> None:
    """Decoding checks for cancellation between two blocks, also while it counts and while it skips."""
    for content, start in ((with_samples(flac(60), 0), 0.0), (flac(60), 50.0), (flac(60), 0.0)):
        stop, asked = Stop(), 0

        def check(stop: Stop = stop) -> None:
            nonlocal asked
            asked += 1
            if asked == 3:
                stop.set()
            stop.check()

        with upload(content) as given, pytest.raises(StoppedError):
            list(audio_segments(given, MARENGO_30, start, OPTIONS, check))
        assert asked == 3


async def test_a_cancelled_call_stops_its_thread() -> None:
    """Cancelling a call ends the work of its thread, and queued work never begins."""
    threads, stop = Threads(1), Stop()
    began, ended, never = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(began.set)
        try:
            while True:
                stop.check()
                time.sleep(0.001)
        finally:
            ended.set()

    first = asyncio.create_task(threads.run(work, stop))
    await began.wait()
    second = asyncio.create_task(threads.run(never.set))
    await asyncio.sleep(0)
    for task in (second, first):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended.is_set()
    assert await threads.run(lambda: "free") == "free"
    assert not never.is_set()
    threads.close()


async def test_a_disconnected_client_ends_its_call(sandbox: Sandbox) -> None:
    """A client that closes its connection cancels its call, which frees its thread and files."""
    sandbox.faults.add(Fault("delay", delay_sec=600, before_body=False))
    before = asyncio.all_tasks()
    body = b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\na\r\n--b--\r\n'
    host, port = sandbox.base_url.split("/")[2].split(":")
    head = (
        f"Host: {host}\r\nx-api-key: k\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}"
    )
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST /v1.3/embed HTTP/1.1\r\n{head}\r\n\r\n".encode() + body)
    async with asyncio.timeout(20):
        while not sandbox.journal or not sandbox.journal[-1].parts:
            await asyncio.sleep(0.01)
        assert asyncio.all_tasks() - before
        writer.transport.abort()
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)
