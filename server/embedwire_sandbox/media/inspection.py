"""Detects the type of an uploaded file, and reads its technical properties."""

from dataclasses import dataclass, field
from typing import Any, Final

from PIL import Image

from embedwire_sandbox.errors import MediaError
from embedwire_sandbox.media.audio import audio_format
from embedwire_sandbox.media.image import DECODING_ERRORS, FORMATS
from embedwire_sandbox.media.upload import Upload

_AUDIO_TYPES: Final = {"WAV": "audio/wav", "WAVEX": "audio/wav", "FLAC": "audio/flac", "MP3": "audio/mpeg"}
_CODECS: Final = {"WAV": "pcm", "WAVEX": "pcm", "FLAC": "flac", "MP3": "mp3"}
_IMAGE_TYPES: Final = {"PNG": "image/png", "JPEG": "image/jpeg"}
_UNKNOWN: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Inspection:
    """Findings about a file.

    Attributes:
        file_type: Media type.
        duration_sec: Duration, of audio only.
        technical: Technical properties as the API names them.
        error: Reason why the file cannot be used, if it cannot.
    """

    file_type: str = _UNKNOWN
    duration_sec: float | None = None
    technical: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def kind(self) -> str:
        """`audio`, `image` or `application`."""
        return self.file_type.partition("/")[0]


def inspect(upload: Upload, max_samples: int) -> Inspection:
    """Inspect a file. Blocks; call it in a thread.

    Args:
        upload: The file.
        max_samples: Limit of decoded samples of audio without a length.
    """
    return _image(upload) or _audio(upload, max_samples)


def _image(upload: Upload) -> Inspection | None:
    upload.file.seek(0)
    try:
        with Image.open(upload.file, formats=FORMATS) as image:
            name = str(image.format)
            technical = {"image_width": image.width, "image_height": image.height, "image_format": name}
            return Inspection(_IMAGE_TYPES[name], technical=technical)
    except DECODING_ERRORS:
        return None


def _audio(upload: Upload, max_samples: int) -> Inspection:
    try:
        found = audio_format(upload, max_samples)
    except MediaError as bad:
        return Inspection(error=bad.message)
    technical = {
        "audio_codec": _CODECS[found.container],
        "audio_sample_rate": found.rate,
        "audio_channels": found.channels,
        "audio_duration_seconds": found.duration_sec,
    }
    return Inspection(_AUDIO_TYPES[found.container], found.duration_sec, technical)
