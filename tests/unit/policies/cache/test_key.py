"""The key of a result: equal exactly if everything is equal that decides the result or separates callers."""

import dataclasses
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedwire_server.core.inputs import (
    AssetSource,
    AudioInput,
    FileSource,
    ImageInput,
    Input,
    ProcessingMode,
    Segmentation,
    TaskSource,
    TextInput,
    UrlSource,
)
from embedwire_server.core.models import MARENGO_27, MARENGO_30, MARENGO_35, ApiVersion, Truncate
from embedwire_server.media.in_memory import InMemoryContent
from embedwire_server.policies.cache import key
from embedwire_server.policies.cache.key import ResultKeys
from embedwire_server.upstreams.base import EmbedCall
from tests.unit.policies.cache.support import KEYS, call_of

TEXT = TextInput("k", "a red fox")


def file(data: bytes = b"x", media_type: str = "image/png", name: str = "a") -> FileSource:
    return FileSource(InMemoryContent(data), name, media_type)


AUDIO = AudioInput("k", file(media_type="audio/wav"))
DIFFERENT: dict[str, EmbedCall] = {
    "text": call_of(TEXT),
    "another text": call_of(TextInput("k", "a red fox ")),
    "truncate": call_of(dataclasses.replace(TEXT, truncate=Truncate.END)),
    "another truncate": call_of(dataclasses.replace(TEXT, truncate=Truncate.START)),
    "model": call_of(TEXT, MARENGO_35),
    "dimensions": call_of(TEXT, MARENGO_35.with_dimensions(128)),
    "endpoint": call_of(TEXT, dataclasses.replace(MARENGO_30, endpoint="/other")),
    "version": call_of(TEXT, MARENGO_30.on(ApiVersion.V2)),
    "another version": call_of(TEXT, MARENGO_30.on(ApiVersion.V1)),
    "old model": call_of(TEXT, MARENGO_27),
    "credential": call_of(TEXT, credential="tlk_1"),
    "another credential": call_of(TEXT, credential="tlk_2"),
    "empty credential": call_of(TEXT, credential=""),
    "tenant": call_of(TEXT, tenant="a"),
    "another tenant": call_of(TEXT, tenant="b"),
    "tenant and credential": call_of(TEXT, tenant="a", credential="tlk_1"),
    "uncertainty": call_of(TEXT, has_uncertainty=True),
    "image": call_of(ImageInput("k", file())),
    "another image": call_of(ImageInput("k", file(b"y"))),
    "media type": call_of(ImageInput("k", file(media_type="image/jpeg"))),
    "large": call_of(ImageInput("k", file(b"x" * 300_000))),
    "another large": call_of(ImageInput("k", file(b"x" * 299_999 + b"y"))),
    "url": call_of(ImageInput("k", UrlSource("http://a.test"))),
    "another url": call_of(ImageInput("k", UrlSource("http://a.test/"))),
    "audio url": call_of(AudioInput("k", UrlSource("http://a.test"))),
    "image bytes as audio": call_of(AudioInput("k", file())),
    "audio": call_of(AUDIO),
    "start": call_of(dataclasses.replace(AUDIO, start_offset_sec=1.0)),
    "end": call_of(dataclasses.replace(AUDIO, end_offset_sec=1.0)),
    "fixed": call_of(dataclasses.replace(AUDIO, segmentation=Segmentation("fixed", 2))),
    "other fixed": call_of(dataclasses.replace(AUDIO, segmentation=Segmentation("fixed", 3))),
    "dynamic": call_of(dataclasses.replace(AUDIO, segmentation=Segmentation("dynamic", 2))),
    "options": call_of(dataclasses.replace(AUDIO, options=("audio",))),
    "two options": call_of(dataclasses.replace(AUDIO, options=("audio", "transcription"))),
    "scopes": call_of(dataclasses.replace(AUDIO, scopes=("clip",))),
    "types": call_of(dataclasses.replace(AUDIO, types=("clip",))),
    "mode": call_of(dataclasses.replace(AUDIO, mode=ProcessingMode.SYNC)),
}


async def test_everything_that_decides_a_result_is_in_the_key() -> None:
    """Calls that differ in one parameter, in the credential or in the tenant have different keys."""
    keys = ResultKeys("http://upstream.test", "tlk_of_the_server", has_urls=True)
    found = {name: await keys.of(call) for name, call in DIFFERENT.items()}
    assert None not in found.values()
    assert len(set(found.values())) == len(DIFFERENT)
    for base_url, credential in [("http://other.test", "tlk_of_the_server"), ("http://upstream.test", "other")]:
        other = ResultKeys(base_url, credential, has_urls=True)
        assert await other.of(call_of(TEXT)) not in found.values()


async def test_nothing_else_is_in_the_key() -> None:
    """The key of the input, its index, the client, the deadline and the name of a file do not matter."""
    first = call_of(ImageInput("k", file(name="a")))
    second = EmbedCall(
        ImageInput("l", file(name="b")), MARENGO_30, 1.0, index=3, max_retries=1, caller=("host", "connection")
    )
    assert await KEYS.of(first) == await KEYS.of(second)
    assert await KEYS.of(call_of(TEXT)) == await KEYS.of(call_of(dataclasses.replace(TEXT, key="other")))


async def test_any_number_of_models_and_credentials() -> None:
    """Keys do not change with other keys computed before, of which the memory is bounded."""
    keys, size = ResultKeys("http://upstream.test", None), 2 * key._MAX_SHARED
    names = [str(number) for number in range(size)]
    computed = [await keys.of(call_of(TEXT, dataclasses.replace(MARENGO_30, name=name))) for name in names]
    computed += [await keys.of(call_of(TEXT, credential=name)) for name in names]

    assert len(set(computed)) == 2 * size
    assert len(keys._hashes) <= key._MAX_SHARED
    assert await keys.of(call_of(TEXT, dataclasses.replace(MARENGO_30, name="7"))) == computed[7]
    assert await keys.of(call_of(TEXT, credential="7")) == computed[size + 7]


NO_KEY: list[Input] = [
    ImageInput("k", AssetSource("1")),
    AudioInput("k", TaskSource("1")),
    ImageInput("k", UrlSource("http://a.test")),
]


@pytest.mark.parametrize("item", NO_KEY, ids=["asset", "task", "url"])
async def test_inputs_without_a_key(item: Input) -> None:
    """Assets, tasks, and by default URLs have no key."""
    assert await KEYS.of(call_of(item)) is None


class Sparse:
    """A file of a size, whose bytes are zeros; counts what is read."""

    def __init__(self, size: int, error: Exception | None = None) -> None:
        self.size, self.error, self.read = size, error, 0

    async def ready(self) -> int:
        return self.size

    def chunks(self) -> None:
        raise AssertionError

    def read_at(self, offset: int, size: int) -> bytes:
        if self.error is not None:
            raise self.error
        found = min(size, self.size - offset)
        self.read += found
        return bytes(found)

    def close(self) -> None:
        """Release nothing."""


async def test_large_files() -> None:
    """A file up to the limit is hashed in pieces; a larger one has no key and is not read."""
    fits, too_large = Sparse(key.MAX_HASHED_BYTES), Sparse(key.MAX_HASHED_BYTES + 1)
    found = [
        await KEYS.of(call_of(AudioInput("k", FileSource(each, "a", "audio/wav"))))  # type: ignore[arg-type]
        for each in (fits, too_large)
    ]
    assert found[0] is not None
    assert found[1] is None
    assert (fits.read, too_large.read) == (key.MAX_HASHED_BYTES, 0)


@pytest.mark.parametrize("size", [1, 100_000])
async def test_unreadable_files(size: int) -> None:
    """A file that cannot be read has no key: the request that reads it again reports the failure."""
    broken = FileSource(Sparse(size, OSError(5, "no")), "a", "audio/wav")  # type: ignore[arg-type]
    assert await KEYS.of(call_of(AudioInput("k", broken))) is None


PARTS = st.lists(st.binary(max_size=20), max_size=4)


@given(PARTS, PARTS)
def test_encoding(first: list[bytes], second: list[bytes]) -> None:
    """Different parts have different encodings, wherever they are divided."""
    assert (key._encoded(*first) == key._encoded(*second)) is (first == second)


async def test_no_secret_is_in_the_key() -> None:
    """The key is a hash, and a repr of the keys shows no credential."""
    found = await KEYS.of(call_of(TEXT, credential="tlk_1"))
    assert found is not None
    assert len(found) == hashlib.sha256().digest_size
    assert "tlk" not in repr(KEYS)
