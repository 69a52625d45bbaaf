"""Duration of audio files, from their headers only."""

import contextlib
import io
import os
from pathlib import Path
from typing import IO, BinaryIO, cast

from tinytag import TinyTag

from embedwire.batch.sources.remote import RemoteChunks
from embedwire.inputs import Audio


def seconds(audio: Audio) -> float | None:
    """Return the seconds of an audio input that are embedded; None if its header does not contain the duration.

    Those of an MP3 file without a header of its encoder are estimated. The header of a URL is not read. An open file is
    left at its position.

    Raises:
        OSError: a bucket cannot be read.
    """
    opened = _opened(audio)
    if opened is None:
        return None
    with opened as file:
        whole = _whole(file)
    if whole is None:
        return None
    start, end = audio.start_offset_sec or 0.0, audio.end_offset_sec
    return max(0.0, (whole if end is None else min(whole, end)) - start)


def _opened(audio: Audio) -> contextlib.AbstractContextManager[IO[bytes]] | None:
    if audio.data is not None:
        return io.BytesIO(audio.data)
    if isinstance(audio.chunks, RemoteChunks):
        return audio.chunks.opened()
    with contextlib.suppress(OSError):  # it has vanished, which is the failure of one input
        return Path(audio.path).open("rb") if audio.path is not None else None
    return None


def _whole(file: IO[bytes]) -> float | None:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        tag = TinyTag.get(file_obj=cast("BinaryIO", file), tags=False)
    except OSError:
        raise
    except Exception:  # noqa: BLE001 - a broken file can raise anything in the parser
        return None
    found = tag.duration or 0.0
    if tag.bitrate and (tag.mime_type or "").startswith("audio/wav"):  # one written to a pipe declares 4 GiB
        found = min(found, size * 8 / (tag.bitrate * 1000))
    return found if found > 0 else None
