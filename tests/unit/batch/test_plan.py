"""Dry runs: what is counted, the time under a quota, and the cost."""

from pathlib import Path

import pytest

from embedwire import Audio
from embedwire.batch.duration import seconds
from embedwire.batch.plan import Plan, Prices, Quota, plan
from embedwire.batch.records import Record
from embedwire.batch.sources import read
from tests.support.media import flac, mp3, png, sound, tone, wav
from tests.unit.batch.sources.reading import bucket, written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    audio = {"s__flac": flac(30), "t__wav": wav(60), "u__mp3": mp3(30), "broken__wav": b"no sound"}
    texts = {f"{number}__txt": "a red fox" for number in range(3)}
    return written(tmp_path / "in", x__png=png(), y__pdf="", empty__png=b"", **audio, **texts)


def test_everything_is_counted(folder: Path) -> None:
    """Inputs and bytes are counted by modality, minutes by the headers of audio; the rest is counted as well."""
    result = plan(read(folder))

    assert result.inputs == {"text": 3, "image": 1, "audio": 4}
    assert result.bytes["text"] == 3 * len("a red fox")
    assert result.bytes["image"] == len(png())
    assert result.bytes["audio"] == sum(map(len, (flac(30), wav(60), mp3(30), b"no sound")))
    assert result.audio_seconds == pytest.approx(120, abs=0.5)
    assert (result.requests, result.complete, result.invalid, result.unknown_durations) == (8, 0, 1, 1)
    assert result.ignored == {".pdf": 1}
    assert (result.most_seconds, result.total_cost) == (None, None)


def test_complete_inputs_are_left_out(folder: Path) -> None:
    """What the predicate selects is counted as complete only."""

    def is_complete(record: Record) -> bool:
        return record.key in {"t.wav", "0.txt"}

    result = plan(read(folder), is_complete=is_complete)

    assert result.inputs == {"text": 2, "image": 1, "audio": 3}
    assert result.complete == 2
    assert result.audio_seconds == pytest.approx(60, abs=0.5)


def test_the_time_follows_from_the_quota(folder: Path) -> None:
    """Each modality has its limit; audio takes as long as the stricter one of its two needs."""
    result = plan(read(folder), quota=Quota(text=6, image=2, audio=60, audio_minutes=0.5))

    assert result.seconds == pytest.approx({"text": 30, "image": 30, "audio": 240}, abs=1)
    assert result.least_seconds == pytest.approx(240, abs=1)
    assert result.most_seconds == pytest.approx(300, abs=1)
    assert plan(read(folder), quota=Quota(audio=2)).seconds == {"audio": 120}


def test_a_time_with_an_unknown_part_is_unknown(folder: Path) -> None:
    """The time is known only if the limits of all modalities are that are left."""
    assert plan(read(folder), quota=Quota(text=6, image=2)).most_seconds is None
    texts = plan(read(folder, include=["*.txt"]), quota=Quota(text=6))
    assert (texts.least_seconds, texts.most_seconds) == (30, 30)


def test_the_cost_follows_from_the_prices(folder: Path) -> None:
    """Texts and images cost by the thousand, audio by the minute."""
    result = plan(read(folder), prices=Prices(text=10, image=100, audio=2))

    assert result.cost == pytest.approx({"text": 0.03, "image": 0.1, "audio": 4}, abs=0.05)
    assert result.total_cost == pytest.approx(4.13, abs=0.05)


def test_nothing_left_costs_nothing(tmp_path: Path) -> None:
    """An empty source needs no time and no money, whatever is known."""
    result: Plan = plan(read(written(tmp_path)))

    assert (result.requests, result.least_seconds, result.most_seconds, result.total_cost) == (0, 0, 0, 0)


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_limits_and_prices_are_checked(limit: float) -> None:
    """A limit that is not above 0 and a negative price are errors that name their field."""
    with pytest.raises(ValueError, match="audio_minutes: must be above 0"):
        Quota(audio_minutes=limit)
    if limit != 0:
        with pytest.raises(ValueError, match="image: must be 0 or more"):
            Prices(image=limit)


def test_durations_are_of_the_part_that_is_embedded(tmp_path: Path) -> None:
    """Offsets shorten the duration; the audio may be in a file, in memory or in a bucket, but not at a URL."""
    path = written(tmp_path, s__flac=flac(30)) / "s.flac"
    remote = next(iter(read(bucket("durations", s__flac=flac(30)))))
    assert isinstance(remote, Record)
    assert isinstance(remote.input, Audio)

    assert seconds(Audio(path=path)) == pytest.approx(30)
    assert seconds(Audio(path=path, start_offset_sec=10, end_offset_sec=25)) == pytest.approx(15)
    assert seconds(Audio(path=path, start_offset_sec=10, end_offset_sec=99)) == pytest.approx(20)
    assert seconds(Audio(path=path, start_offset_sec=40)) == 0
    assert seconds(Audio(data=flac(30))) == pytest.approx(30)
    assert seconds(remote.input) == pytest.approx(30)
    assert seconds(Audio(url="https://example.com/a.mp3")) is None
    assert seconds(Audio(path=tmp_path / "none.wav")) is None


def test_the_duration_of_a_stream_is_that_of_its_size() -> None:
    """A WAV file that was written to a pipe declares 4 GiB; its duration is that of the bytes it has."""
    data = bytearray(sound(tone(7), "WAV"))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"

    assert seconds(Audio(data=bytes(data))) == pytest.approx(7, abs=0.1)
