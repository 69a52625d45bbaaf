"""Audio features: spectrum and loudness.

`timbre` is the log-mel spectrum: its mean, its course over time, and its variation. `rhythm` is the change of loudness
alone. Neither recognises speech.
"""

from functools import lru_cache
from typing import Any, Final

import numpy as np

from embedwire_sandbox.media.vectors import Array, block

Samples = np.ndarray[Any, np.dtype[np.float32]]

_BANDS: Final = 48
_LOWEST_HZ: Final = 60.0
_HIGHEST_HZ: Final = 7000.0  # below the cut-off of an MP3 of usual bitrate
_FRAME_SEC: Final = 0.06
_PARTS: Final = 4
_RANGE: Final = 1e5  # 50 dB of mel power; below is silence
_ENVELOPE_HZ: Final = 50
_MODULATIONS: Final = 32
_PROFILE: Final = 24
_STRIP: Final = 1 << 18  # multiplications


def timbre(samples: Samples, rate: int) -> Array:
    """Return the log-mel features of mono samples from -1 to 1, at `rate` samples a second."""
    mel = _log_mel(samples, rate)
    level = mel.mean()
    parts = [part.mean(axis=0) if len(part) else mel.mean(axis=0) for part in np.array_split(mel, _PARTS)]
    over_time = np.stack(parts)
    return np.concatenate(
        [
            block(mel.mean(axis=0) - level, 1.0, floor=0.5),
            block(over_time - over_time.mean(), 0.8, floor=1.0),
            block(mel.std(axis=0), 0.4, floor=1.0),
            np.array([0.25, 0.05 * float(level)]),  # never zero, also for silence
        ]
    )


def rhythm(samples: Samples, rate: int) -> Array:
    """Return features of the loudness: its shape over the window, and its modulation from 0 to 25 Hz."""
    loudness = _envelope(samples, rate)
    moving = loudness - loudness.mean()
    modulation = np.abs(np.fft.rfft(moving * np.hanning(len(moving)))) / len(moving)
    return np.concatenate(
        [
            block(_resampled(moving, _PROFILE), 1.0, floor=0.5),
            block(_resampled(modulation, _MODULATIONS), 1.0, floor=0.05),
            np.array([0.4, 0.1 * float(loudness.mean())]),
        ]
    )


def _log_mel(samples: Samples, rate: int) -> Array:
    """Return frames by bands, each from 0 (silence) to about 5 (full scale)."""
    size = 1 << max(4, round(float(np.log2(rate * _FRAME_SEC))))
    padded = np.pad(samples, (0, max(0, size - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)) ** 2 / (size / 4) ** 2
    return np.log10(1.0 + _RANGE * _product(power, _mel_filters(size, rate)))


def _product(left: Array, right: Array) -> Array:
    """Multiply two matrices in strips that BLAS multiplies in one thread: its other threads cost 20 times as much."""
    rows = max(1, _STRIP // right.size)
    return np.concatenate([left[row : row + rows] @ right for row in range(0, len(left), rows)])


@lru_cache(maxsize=16)
def _mel_filters(size: int, rate: int) -> Array:
    """Return triangular filters on the mel scale, bins by bands. Bands above half the sample rate are empty."""
    hertz = np.fft.rfftfreq(size, 1 / rate)
    edges = _hertz(np.linspace(_mel(_LOWEST_HZ), _mel(_HIGHEST_HZ), _BANDS + 2))
    rising = (hertz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz[:, None]) / (edges[2:] - edges[1:-1])
    triangles: Array = np.clip(np.minimum(rising, falling), 0, None)
    return triangles


def _mel(hertz: float) -> float:
    return 2595.0 * float(np.log10(1 + hertz / 700.0))


def _hertz(mel: Array) -> Array:
    hertz: Array = 700.0 * (10 ** (mel / 2595.0) - 1)
    return hertz


def _envelope(samples: Samples, rate: int) -> Array:
    """Return the loudness at 50 Hz, from 0 (silence) to about 5."""
    step = max(1, rate // _ENVELOPE_HZ)
    whole = np.pad(samples.astype(np.float64), (0, -len(samples) % step)).reshape(-1, step)
    loudness: Array = np.log10(1.0 + _RANGE * (whole**2).mean(axis=1))
    return loudness


def _resampled(values: Array, count: int) -> Array:
    return np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(values)), values)
