"""The models of a server, over all pages."""

from typing import Any

from embedwire.v1 import embedding_pb2 as pb
from tests.e2e.client.callers import Connect
from tests.e2e.client.services import Context, service
from tests.support.serving import Served


async def test_models_of_a_real_server(connect: Connect, served: Served) -> None:
    """models() gives names, aliases, dimensions and limits of the real server."""
    async with connect(served.app.target) as client:
        models = {model.name: model for model in await client.models(timeout=10)}

    new, old, newest = models["marengo3.0"], models["Marengo-retrieval-2.7"], models["marengo3.5"]
    assert (new.dimensions, old.dimensions) == (512, 1024)
    assert "marengo2.7" in old.aliases
    assert new.text is not None
    assert new.text.max_bytes == 64 << 10
    assert set(new.text.truncates) <= {"none", "start", "end"}
    assert old.text is not None
    assert old.text.max_tokens == 77
    assert new.image is not None
    assert "image/png" in new.image.media_types
    assert new.image.min_side_px > 0
    assert new.audio is not None
    assert new.audio.max_bytes == 256 << 20
    assert "task" in new.audio.processing_modes
    assert new.audio.fixed_segmentation is not None
    assert new.audio.fixed_segmentation.max_sec == 10
    assert (newest.supports_uncertainty, newest.dimensions in newest.supported_dimensions) == (True, True)


async def test_every_page_of_models_is_requested(connect: Connect) -> None:
    """models() follows page tokens to the last page, also over an empty page, and returns absent modalities as None."""
    truncates: Any = pb.TextSupport(truncates=[3, 9])  # type: ignore[list-item] # an unknown modality
    pages = {
        "": pb.ListModelsResponse(next_page_token="two"),
        "two": pb.ListModelsResponse(models=[pb.Model(name="a", text=truncates)], next_page_token="three"),
        "three": pb.ListModelsResponse(models=[pb.Model(name="b"), pb.Model(name="c")]),
    }

    asked = []

    async def list_models(request: pb.ListModelsRequest, _: Context) -> pb.ListModelsResponse:
        asked.append(request.page_token)
        return pages[request.page_token] if len(asked) < 9 else pages["three"]  # ends an endless pagination

    async with service(ListModels=list_models) as target, connect(target) as client:
        found = await client.models(timeout=10)

    assert asked == ["", "two", "three"]
    assert [model.name for model in found] == ["a", "b", "c"]
    assert found[0].text is not None
    assert found[0].text.truncates == ("end", "9")
    assert (found[1].text, found[1].image, found[1].audio) == (None, None, None)


async def test_a_server_without_models_is_asked_once(connect: Connect) -> None:
    """A server without models and without a further page gives an empty list after one request."""
    asked = 0

    async def list_models(_: Any, __: Context) -> pb.ListModelsResponse:
        nonlocal asked
        asked += 1
        if asked > 5:  # ends an endless pagination
            return pb.ListModelsResponse(models=[pb.Model(name="stop")])
        return pb.ListModelsResponse()

    async with service(ListModels=list_models) as target, connect(target) as client:
        assert await client.models(timeout=10) == []
    assert asked == 1
