"""Write the sample files of the demo: a sentence, a drawn picture and a short sound.

Their content is deterministic, and they are committed. With --recording MINUTES FILE, write a long sound
(FLAC) instead. It needs Pillow, NumPy and soundfile, which the sandbox needs as well.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SAMPLES = Path(__file__).parent / "samples"
SENTENCE = "A small boat sails towards the evening sun while somebody on board plays a slow melody.\n"

SIZE = (384, 288)
HORIZON = 180
SKY, DUSK, SEA = (38, 70, 130), (250, 160, 90), (20, 60, 90)

RATE = 16_000
NOTES_HZ = (262, 330, 392, 523, 392, 330, 294, 349, 440, 349)
NOTE_SEC = 0.8
NOISE_SEC = 6.0
CHIRP_SEC = 6.0
SEED = 7


def picture() -> Image.Image:
    """Draw a boat on the sea at sunset."""
    image = Image.new("RGB", SIZE)
    draw = ImageDraw.Draw(image)
    for row in range(HORIZON):
        share = row / HORIZON
        colour = tuple(round(high + (low - high) * share) for high, low in zip(SKY, DUSK, strict=True))
        draw.line((0, row, SIZE[0], row), fill=colour)
    draw.ellipse((250, 110, 330, 190), fill=(255, 230, 150))
    draw.rectangle((0, HORIZON, *SIZE), fill=SEA)
    for row in range(HORIZON + 8, SIZE[1], 14):
        draw.line((row % 60, row, SIZE[0] - row % 80, row), fill=(60, 110, 140), width=2)
    draw.polygon(((90, 200), (210, 200), (185, 228), (112, 228)), fill=(120, 60, 30))
    draw.polygon(((150, 70), (150, 192), (205, 192)), fill=(240, 235, 220))
    draw.polygon(((144, 90), (144, 192), (104, 192)), fill=(205, 60, 50))
    return image.filter(ImageFilter.GaussianBlur(0.6))


def sound() -> NDArray[np.float32]:
    """Synthesise a melody, then surf, then a rising tone, which fall into different segments."""
    fade = np.minimum(1.0, np.linspace(0, 8, round(NOTE_SEC * RATE)))
    note_times = np.arange(round(NOTE_SEC * RATE)) / RATE
    melody = np.concatenate([np.sin(2 * np.pi * hertz * note_times) * fade * fade[::-1] for hertz in NOTES_HZ])
    noise = np.random.default_rng(SEED).normal(size=round(NOISE_SEC * RATE))
    surf = np.convolve(noise, np.ones(24) / 24, mode="same")
    surf *= 0.5 + 0.5 * np.sin(2 * np.pi * 0.5 * np.arange(surf.size) / RATE)
    times = np.arange(round(CHIRP_SEC * RATE)) / RATE
    chirp = np.sin(2 * np.pi * (200 * times + 150 * times**2))
    return np.concatenate([0.4 * melody, 0.3 * surf, 0.3 * chirp]).astype(np.float32)


def write_recording(path: Path, minutes: int) -> None:
    """Repeat the sound for a number of minutes; 25 minutes have about 18 MB."""
    repeated = np.resize(sound(), minutes * 60 * RATE)
    soundfile.write(path, repeated, RATE, format="FLAC", subtype="PCM_16")
    print(f"{path}: {minutes} minutes")


def main() -> None:
    """Write the samples, or a recording."""
    parser = argparse.ArgumentParser(description="Write the samples, or a long recording.")
    parser.add_argument("--recording", nargs=2, metavar=("MINUTES", "FILE"), help="write a recording only")
    recording = parser.parse_args().recording
    if recording:
        write_recording(Path(recording[1]), int(recording[0]))
    else:
        write_samples()


def write_samples() -> None:
    """Write all samples."""
    SAMPLES.mkdir(exist_ok=True)
    (SAMPLES / "text.txt").write_text(SENTENCE, encoding="utf-8")
    picture().save(SAMPLES / "picture.png", optimize=True)
    soundfile.write(SAMPLES / "melody.flac", sound(), RATE, subtype="PCM_16")
    for path in sorted(SAMPLES.iterdir()):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
