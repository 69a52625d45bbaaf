"""Audio: windows, decoding, and vectors."""

import io
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile

from embedwire_sandbox import SandboxOptions
from embedwire_sandbox.errors import MediaError, RefusalError
from embedwire_sandbox.media.upload import Upload, spool
from embedwire_sandbox.media.vectors import Vector
from embedwire_sandbox.models import MARENGO_27, MARENGO_30, Model
from embedwire_sandbox.v1.result import Segment
from embedwire_sandbox.v1.segments import audio_segments, windows
from tests.support.media import Samples, flac, mp3, sound, tone, wav

OPTIONS = SandboxOptions()


@contextmanager
def upload(content: bytes) -> Iterator[Upload]:
    with spool() as file:
        file.write(content)
        yield Upload(file, len(content))


def segments(content: bytes, model: Model = MARENGO_30, start: float = 0.0) -> list[Segment]:
    with upload(content) as given:
        return list(audio_segments(given, model, start, OPTIONS))


def first(content: bytes, option: str = "audio") -> Vector:
    return next(segment.vector for segment in segments(content) if segment.embedding_option == option)


def noise(seconds: float) -> Samples:
    return (0.2 * np.random.RandomState(5).randn(round(seconds * 16000))).astype(np.float32)


@pytest.mark.parametrize(
    ("length", "starts"),
    [
        (50, [0, 10, 20, 30, 40]),
        (16, [0, 8]),
        (14, [0, 7]),
        (13, [0]),
        (3, [0]),
        (24, [0, 12]),
        (27, [0, 9, 18]),
        (0.5, [0]),
    ],
)
def test_even_windows(length: float, starts: list[float]) -> None:
    """Marengo 2.7 cuts as many equal windows as bring their length nearest to 10 seconds."""
    assert starts == [window.start for window in windows(MARENGO_27, 0, length)]


@pytest.mark.parametrize(
    ("start", "end", "edges"),
    [
        (0, 6, [(0, 6)]),
        (0, 12, [(0, 6), (6, 12)]),
        (0, 13.5, [(0, 6), (6, 12), (12, 13.5)]),
        (1.5, 8, [(1.5, 7.5), (7.5, 8)]),
        (0, 0.25, [(0, 0.25)]),
    ],
)
def test_fixed_windows(start: float, end: float, edges: list[tuple[float, float]]) -> None:
    """Marengo 3.0 cuts windows of 6 seconds from the start offset; the last window is the remainder."""
    assert edges == list(windows(MARENGO_30, start, end))


def test_start_offset() -> None:
    """A segment has the sound at its offset, in a seekable format and in another one."""
    silence_then_tone = np.concatenate([np.zeros(32000, dtype=np.float32), tone(6)])
    for container in ("WAV", "FLAC", "MP3"):
        heard = segments(sound(silence_then_tone, container), start=2.0)[0]
        assert heard.start_offset_sec == 2
        assert heard.vector @ first(flac(6)) > 0.97


@pytest.mark.parametrize("option", ["audio", "transcription"])
def test_encodings_are_near(option: str) -> None:
    """The same sound is near itself in every format, at another rate, and in stereo."""
    melody = np.concatenate([tone(0.5, hertz) for hertz in (262, 330, 392, 0, 523, 330, 0, 262)])
    original = first(sound(melody, "FLAC"), option)
    stereo = np.stack([melody, melody], axis=1)

    assert original @ first(sound(melody, "WAV"), option) > 0.9999
    assert original @ first(sound(stereo, "FLAC"), option) > 0.9999
    assert original @ first(sound(melody, "MP3"), option) > 0.95


def test_rates_are_near() -> None:
    """A tone is near itself at another sample rate."""
    assert first(wav(6, rate=16000)) @ first(wav(6, rate=44100)) > 0.9


def test_sounds_are_far() -> None:
    """Two tones, noise and silence have distant vectors, and two near tones are nearer than two far ones."""
    low, near, high = first(flac(6, 440)), first(flac(6, 450)), first(flac(6, 880))
    hiss, silence = first(sound(noise(6))), first(sound(np.zeros(96000, dtype=np.float32)))

    assert low @ near > 0.8
    assert max(low @ high, low @ hiss, high @ hiss, low @ silence, hiss @ silence) < 0.5


def test_rhythm_is_distinguished() -> None:
    """The `transcription` vectors distinguish a beat from a drone, and not one pitch from another."""
    beat = tone(6) * (np.arange(96000) % 8000 < 2000)
    drone = first(flac(6), "transcription")

    assert drone @ first(sound(beat.astype(np.float32)), "transcription") < 0.6
    assert drone @ first(flac(6, 880), "transcription") > 0.9


def test_tempo_is_distinguished() -> None:
    """Two beats of different tempo differ in their `transcription` vectors, wherever they begin."""
    slow, late, fast = [
        first(sound((tone(6) * ((np.arange(96000) + shift) % period < 2000)).astype(np.float32)), "transcription")
        for period, shift in ((8000, 0), (8000, 3000), (5000, 0))
    ]
    assert slow @ late > slow @ fast
    assert slow @ fast < 0.8


@pytest.mark.parametrize("length", [1, 7, 1000, 96001])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_odd_sounds(length: int, level: float) -> None:
    """Silence, a constant and a stretch of a few samples have unit vectors."""
    for segment in segments(sound(np.full(length, level, dtype=np.float32), "WAV")):
        assert np.linalg.norm(segment.vector) == pytest.approx(1, abs=1e-6)


def test_samples_that_are_no_numbers() -> None:
    """A file of floats with infinities and NaN has finite vectors."""
    out = io.BytesIO()
    soundfile.write(out, np.array([np.nan, np.inf, -np.inf, 1e30] * 4000), 16000, format="WAV", subtype="FLOAT")
    assert all(np.isfinite(segment.vector).all() for segment in segments(out.getvalue()))


def test_break_in_the_middle() -> None:
    """A file that breaks off gives the segments before the break, and then the error."""
    content = sound(noise(30), "FLAC")
    with upload(content[: len(content) // 2]) as given:
        steps = audio_segments(given, MARENGO_30, 0.0, OPTIONS)
        offsets: list[float | None] = []
        with pytest.raises(MediaError):
            offsets.extend(segment.start_offset_sec for segment in steps)
    assert offsets == [0, 0, 6, 6]


def test_mp3_length() -> None:
    """The padding that an MP3 encoder adds is not counted."""
    assert segments(mp3(9))[-1].end_offset_sec == 9


def test_start_beyond_the_end() -> None:
    """A start at or beyond the end is an error of the request, not of the file."""
    with pytest.raises(RefusalError, match="audio_start_offset_sec"):
        segments(wav(2), start=2.0)


def test_memory_is_bounded() -> None:
    """Ten minutes of audio are embedded in less memory than one minute of samples takes."""
    content = wav(600, rate=8000)
    with upload(content) as given:
        list(audio_segments(given, MARENGO_30, 590.0, OPTIONS))  # fills the caches
        tracemalloc.start()
        count = sum(1 for _ in audio_segments(given, MARENGO_30, 0.0, OPTIONS))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert count == 200
    assert peak < 8 * 60 * 8000
