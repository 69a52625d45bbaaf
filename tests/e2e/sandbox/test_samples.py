"""The sample files of the demo."""

import subprocess
import sys
from pathlib import Path

from embedwire_sandbox import Sandbox
from tests.e2e.sandbox.official import post

SAMPLES = Path(__file__).parents[3] / "clients/python/examples/samples"


async def test_samples(sandbox: Sandbox) -> None:
    """The committed samples are small, are accepted, and the sound has segments that differ."""
    text, picture, sound = [SAMPLES / name for name in ("text.txt", "picture.png", "melody.flac")]
    reply = await post(
        sandbox,
        data={"model_name": "marengo3.0", "text": text.read_text(encoding="utf-8")},
        files={"image_file": picture.read_bytes(), "audio_file": sound.read_bytes()},
    )

    assert picture.stat().st_size < 60_000
    assert sound.stat().st_size < 400_000
    assert list(reply.json()) == ["model_name", "text_embedding", "image_embedding", "audio_embedding"]
    vectors = {tuple(segment["float"]) for segment in reply.json()["audio_embedding"]["segments"]}
    assert len(vectors) == 8


PRINT_VECTORS = """
import hashlib, sys
from pathlib import Path
from embedwire_sandbox import SandboxOptions
from embedwire_sandbox.v1.segments import audio_segments
from embedwire_sandbox.media.upload import Upload, spool
from embedwire_sandbox.media.image import image_vector
from embedwire_sandbox.models import MARENGO_27
from embedwire_sandbox.media.text import text_vector
digest = hashlib.sha256(text_vector(Path(sys.argv[1]).read_text(), 1024).tobytes())
for path, embed in ((sys.argv[2], lambda upload: [image_vector(upload, MARENGO_27, 10**6)]),
                    (sys.argv[3], lambda upload: [segment.vector for segment in
                                                  audio_segments(upload, MARENGO_27, 0.0, SandboxOptions())])):
    with spool() as file:
        file.write(Path(path).read_bytes())
        for vector in embed(Upload(file, file.tell())):
            digest.update(vector.tobytes())
print(digest.hexdigest())
"""


def test_processes_agree() -> None:
    """Two processes with different hash seeds give the same bytes for the samples."""
    paths = [str(SAMPLES / name) for name in ("text.txt", "picture.png", "melody.flac")]
    digests = {
        subprocess.run(
            [sys.executable, "-c", PRINT_VECTORS, *paths],
            env={"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(digests) == 1
