"""Calls from outside, with the Python client."""

import asyncio
import math
import struct
from collections.abc import Callable, Iterator

import numpy as np
import trustme

from embedwire import TLS, AsyncClient, Audio, Embedding, EmbedwireError, Image, Text
from embedwire_server.auth.tokens import new_token
from tests.image.container import MEMORY_MIB, Container
from tests.image.stage import Stage, check
from tests.support import media
from tests.system.server import MIB
from tests.system.verdict import Verdict

MODEL, DIMENSIONS = "marengo3.0", 512
LARGE_BYTES = 200_000_000
_RATE, _FRAME = 48_000, 4  # 16 bits in stereo
_WINDOW_SECONDS = 6
_FURTHER_MODEL = """
[[models]]
name = "marengo-of-the-file"
dimensions = 512
text = { max_tokens = 77, truncates = ["end"] }
"""


@check("calls")
async def calls_of_each_kind(stage: Stage) -> Verdict:
    """It answers a call of each kind from its own sandbox, and its metrics count them."""
    verdict = Verdict()
    text, image, audio = Text("a red fox"), Image(data=media.png(), file_name="a.png"), Audio(data=media.flac(14))
    async with stage.container() as container, AsyncClient(container.target) as client:
        _good(verdict, "for a text", [await client.embed(MODEL, text)], 1)
        _good(verdict, "for an image", [await client.embed(MODEL, image)], 1)
        _good(verdict, "for audio", [await client.embed(MODEL, audio)], 6)
        _good(verdict, "for the three together", await client.embed(MODEL, [text, image, audio]), 8)
        _good(verdict, "for a unary call", [await client.embed(MODEL, text)], 1)
        pieces = _pieces(media.wav(14), 64 << 10)
        _good(verdict, "for an upload", [await client.embed(MODEL, Audio(chunks=pieces))], 6)
        counted = [
            line for line in (await container.metrics()).splitlines() if line.startswith("embedwire_inputs_total")
        ]
        verdict.exactly("inputs in its metrics", sum(float(line.split()[-1]) for line in counted), 8.0)
    return verdict


def _good(verdict: Verdict, what: str, embeddings: list[Embedding], segments: int) -> None:
    """Check that the sandbox answered all inputs, with this many segments and unit vectors of the right length."""
    found = [segment for embedding in embeddings for segment in embedding.segments]
    vectors = [np.asarray(segment.vector) for segment in found]
    sound = all(
        len(vector) == DIMENSIONS and math.isclose(np.linalg.norm(vector), 1, abs_tol=1e-3) for vector in vectors
    )
    answered = all(not one.failure and one.result.upstream in {"sandbox", "custom"} for one in embeddings)
    verdict.exactly(f"segments {what}", len(found) if sound and answered else repr(embeddings), segments)


def _pieces(content: bytes, size: int) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


@check("configuration-file")
async def its_configuration_file(stage: Stage) -> Verdict:
    """It reads a configuration file that is mounted."""
    file = stage.engine.directory / "embedwire.toml"
    file.write_text(_FURTHER_MODEL)
    place = "/etc/embedwire.toml"
    async with (
        stage.container({file: f"{place}:ro"}, config=place) as container,
        AsyncClient(container.target) as client,
    ):
        names = [model.name for model in await client.models()]
    verdict = Verdict()
    verdict.exactly("is the model of the file", names[-1], "marengo-of-the-file")
    return verdict


@check("safety")
async def it_is_safe(stage: Stage) -> Verdict:
    """It serves TLS with a mounted certificate and refuses calls without a token; SIGHUP adds a token."""
    folder = stage.engine.directory / "etc"
    folder.mkdir(exist_ok=True)
    authority, place = trustme.CA(), "/etc/embedwire"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "tls.pem")
    (folder / "tls.pem").chmod(0o644)
    token, digest = new_token()
    file = folder / "embedwire.toml"
    file.write_text(f'[tls]\ncertificate = "{place}/tls.pem"\nkey = "{place}/tls.pem"\n')
    tls = TLS(root_certificates=authority.cert_pem.bytes(), server_name="localhost")
    verdict = Verdict()
    async with stage.container({folder: f"{place}:ro"}, config=f"{place}/embedwire.toml", insecure=False) as container:
        async with AsyncClient(container.target, tls=tls, token=token) as client:
            with file.open("a") as more:
                more.write(f'[[tokens]]\nname = "search"\nsha256 = "{digest}"\n')
            _good(verdict, "with TLS, while there are no tokens", [await client.embed(MODEL, Text("a red fox"))], 1)
            await asyncio.to_thread(stage.engine.podman, "kill", "--signal", "HUP", container.name)
            await _until(lambda: "the configuration was reloaded" in container.log())
            _good(verdict, "with a token", [await client.embed(MODEL, Text("a red fox"))], 1)
        for what, wrong in (("without a token", None), ("with another token", new_token()[0])):
            async with AsyncClient(container.target, tls=tls, token=wrong) as client:
                verdict.exactly(what, await _refusal(client), "UNAUTHENTICATED")
        async with AsyncClient(container.target) as client:
            verdict.exactly("without TLS", await _refusal(client), "UNAVAILABLE")
        verdict.exactly("its health inside", await container.execute("embedwire-server", "health"), (0, "SERVING"))
    return verdict


async def _refusal(client: AsyncClient) -> str:
    try:
        await client.models(timeout=10)
    except EmbedwireError as error:
        return error.code
    return "OK"


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.1)


@check("large-upload")
async def a_large_upload(stage: Stage) -> Verdict:
    """A file as large as its memory passes through its spool on the volume, which is empty before and after."""
    async with (
        stage.sandbox() as upstream,
        stage.container(upstream=upstream, api_key="any") as container,
        AsyncClient(container.target) as client,
    ):
        rest, seen = container.mib("VmRSS"), _Seen()
        embedding = await client.embed(
            MODEL, Audio(chunks=seen.watched(container), media_type="audio/wav"), timeout=300
        )
        verdict = Verdict()
        windows = math.ceil(LARGE_BYTES / _FRAME / _RATE / _WINDOW_SECONDS)
        _good(verdict, f"for {LARGE_BYTES / 1e6:.0f} MB", [embedding], 2 * windows)
        verdict.exactly("files in the spool", seen.files, 1)
        verdict.exactly("of them with a name", seen.names, 0)
        verdict.at_least(
            "MiB of disk it took when nearly all was sent", seen.taken / MIB, 0.8 * LARGE_BYTES / MIB, "{:.0f}"
        )
        verdict.exactly("files in the spool afterwards", len(container.spooled()) + len(_names(container)), 0)
        verdict.at_most(
            f"MiB grew the {rest:.0f} MiB of the server at most", container.mib("VmHWM") - rest, 60, "{:.0f}"
        )
        peak = int(container.cgroup("memory.peak")) / MIB
        verdict.at_most("MiB at most, with the page cache", peak, MEMORY_MIB, "{:.0f}")
        verdict.exactly("times killed for want of memory", container.killed_for_memory(), 0)
    return verdict


class _Seen:
    """The state of the spool when most of a file was sent."""

    files = names = taken = 0

    def watched(self, container: Container) -> Iterator[bytes]:
        """Yield the chunks of a large WAV file of noise."""
        layout = (b"RIFF", 36 + LARGE_BYTES, b"WAVE", b"fmt ", 16, 1, 2, _RATE, _RATE * _FRAME, _FRAME, 16)
        yield struct.pack("<4sI4s4sIHHIIHH", *layout) + struct.pack("<4sI", b"data", LARGE_BYTES)
        noise = np.random.default_rng(7).integers(-8000, 8000, MIB // 2, np.int16).tobytes()
        for at in range(0, LARGE_BYTES, MIB):
            if at + MIB >= LARGE_BYTES:
                self._look(container)
            yield noise[: LARGE_BYTES - at]

    def _look(self, container: Container) -> None:
        spooled = container.spooled()
        self.files, self.names = len(spooled), len(_names(container))
        self.taken = container.spool_bytes()


def _names(container: Container) -> list[str]:
    return [path.name for path in container.spool.iterdir()]
