"""Bearer tokens: which calls are authenticated, and the errors of all others."""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.config import render, sources
from tests.support import http2
from tests.support.http2 import Connection, call, frame, message
from tests.support.messages import Failed, ending, failed, file_input, request, text_input, upload_input
from tests.support.pki import bearer, sha256
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, Serve, Served, settings_of, until
from tests.support.upstreams import Visit, reply

OK, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
PERMISSION_DENIED = grpc.StatusCode.PERMISSION_DENIED
TEXT = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[text_input()])
SEARCH, INDEXER = (
    {"name": "search", "sha256": sha256("s1")},
    {"name": "indexer", "sha256": [sha256("i1"), sha256("i2")]},
)
TOKENS = (SEARCH, INDEXER)


async def answer(visit: Visit) -> None:
    await visit.answer(reply())


async def refused(served: Served, metadata: Any, asked: pb.CreateEmbeddingUnaryRequest = TEXT) -> Failed:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.CreateEmbeddingUnary(asked, metadata=metadata, timeout=20)
    return failed(caught.value)


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param([], id="none"),
        pytest.param([("authorization", "")], id="empty"),
        pytest.param([("authorization", "Bearer")], id="no token"),
        pytest.param([("authorization", "Basic czE6czE=")], id="basic"),
        pytest.param([("authorization", "s1")], id="no scheme"),
        pytest.param([("authorization", "Bearer s1, Bearer s1")], id="list"),
        pytest.param([("authorization-bin", b"Bearer s1")], id="bytes"),
        pytest.param([("authorization", "Bearer " + "x" * 10_000)], id="10 KB"),
        pytest.param([*bearer("s1"), *bearer("s1")], id="twice"),
        pytest.param([*bearer("i1"), *bearer("s1")], id="two callers"),
        pytest.param([("x-api-key", "s1"), ("token", "s1")], id="elsewhere"),
    ],
)
async def test_a_call_without_a_token_is_rejected(serve: Serve, metadata: Any) -> None:
    """A call without exactly one token is UNAUTHENTICATED, and the message says how to send one."""
    async with serve(tokens=TOKENS) as served:
        failure = await refused(served, metadata)
        assert (failure.code, failure.info.reason) == (UNAUTHENTICATED, "UNAUTHENTICATED")
        assert failure.message.startswith("no bearer token: send the metadata authorization")
        await until(lambda: served.metric("embedwire_requests_total", reason="UNAUTHENTICATED") == 1)
        assert "embedwire_client_requests_total{" not in served.metrics()


async def test_bytes_that_are_not_text_are_rejected(serve: Serve) -> None:
    """A header with bytes that client libraries do not send is rejected like a wrong token."""
    async with serve(tokens=TOKENS) as served, Connection.open(served.app.target) as connection:
        block = call("/embedwire.v1.EmbeddingService/CreateEmbeddingUnary", 1, ("authorization", "Bearer @@@@"))
        asked = frame(http2.DATA, message(TEXT.SerializeToString()), flags=http2.END_STREAM, stream=1)
        await connection.send(block.replace(b"@@@@", b"\xff\xfe\x80s"), asked)
        await until(lambda: served.metric("grpc_server_handled_total", grpc_code="UNAUTHENTICATED") == 1)
        assert await served.stub.CreateEmbeddingUnary(TEXT, metadata=bearer("s1"), timeout=20).code() is OK


@pytest.mark.parametrize("shown", ["Bearer s1", "bearer s1", "BEARER  s1", "Bearer i1", "bEaReR i2"])
async def test_any_of_the_tokens_is_accepted(scripted: Scripted, shown: str) -> None:
    """Several tokens are valid, also two of one caller; the scheme is case-insensitive."""
    async with scripted(answer, tokens=TOKENS) as (served, _):
        metadata = [("authorization", shown)]
        assert await served.stub.CreateEmbeddingUnary(TEXT, metadata=metadata, timeout=20).code() is OK


async def test_a_wrong_and_an_unknown_token_get_the_same_response(serve: Serve) -> None:
    """Similar tokens, hashes, names and random text: code, message, details and trailers are byte-identical."""
    answers = set()
    async with serve(tokens=TOKENS) as served:
        for shown in ("s2", "s", "s11", "S1", sha256("s1"), "search", "i1i2", "x" * 512):
            failure = await refused(served, bearer(shown))
            trailers = {name: value for name, value in failure.trailers.items() if name != "x-request-id"}
            answers.add((failure.code, failure.message, tuple(sorted(trailers.items()))))
    assert len(answers) == 1
    assert answers.pop()[0] is UNAUTHENTICATED


async def test_all_methods_require_a_token(scripted: Scripted) -> None:
    """Each of the four RPCs is rejected without a token, before the upstream is called, and answered with one."""
    image = request(upload_input("image", file_name="a.png"))

    async def upload() -> AsyncGenerator[pb.CreateEmbeddingFromUploadRequest]:
        yield pb.CreateEmbeddingFromUploadRequest(request=image)
        yield pb.CreateEmbeddingFromUploadRequest(chunk=pb.UploadChunk(data=b"\x89PNG\r\n\x1a\n", last=True))

    async def script(visit: Visit) -> None:
        await visit.answer(reply("image_embedding" if b"PNG" in visit.body else "text_embedding"))

    async with scripted(script, tokens=TOKENS) as (served, upstream):

        def calls(metadata: Any) -> list[Any]:
            stub = served.stub
            more: Any = {"metadata": metadata, "timeout": 20}
            return [
                stub.ListModels(pb.ListModelsRequest(), **more),
                stub.CreateEmbeddingUnary(TEXT, **more),
                stub.CreateEmbedding(request(text_input()), **more),
                stub.CreateEmbeddingFromUpload(upload(), **more),
            ]

        *wrong, refused_upload = calls(bearer("wrong"))
        assert [await ending(one) for one in wrong] == [UNAUTHENTICATED] * 3
        assert await ending(refused_upload) is not OK  # grpc.aio can report its failed write instead
        assert not upstream.visits
        assert [await ending(one) for one in calls(bearer("s1"))] == [OK] * 4


async def test_the_token_is_checked_before_the_content(serve: Serve) -> None:
    """An upload without a token is ended immediately, before its first message or while it is being sent."""
    chunk = pb.CreateEmbeddingFromUploadRequest(chunk=pb.UploadChunk(data=bytes(16_000)))
    more = frame(http2.DATA, message(chunk.SerializeToString()), stream=1)
    path = "/embedwire.v1.EmbeddingService/CreateEmbeddingFromUpload"
    async with serve(tokens=TOKENS) as served:
        for sent in (0, 3):  # within HTTP/2's initial flow-control window
            async with Connection.open(served.app.target) as connection:
                await connection.send(call(path, 1), *[more] * sent)
                trailers = await connection.until(http2.HEADERS)
                assert trailers is not None
                assert b"grpc-status\x0216" in trailers.payload
                assert await connection.until(http2.RST_STREAM) is not None


async def test_health_and_reflection_are_open(serve: Serve) -> None:
    """Health checks and reflection need no token; reflection can be switched off."""
    for reflection, code in ((True, OK), (False, grpc.StatusCode.UNIMPLEMENTED)):
        async with serve(tokens=TOKENS, server_reflection=reflection) as served:
            check = health_pb2.HealthCheckRequest(service="embedwire.v1.EmbeddingService")
            assert (await health_pb2_grpc.HealthStub(served.channel).Check(check, timeout=20)).status == 1
            stub: Any = reflection_pb2_grpc.ServerReflectionStub(served.channel)
            # A message that a client writes to an already rejected call makes it INTERNAL in grpc.aio.
            asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")]) if reflection else None
            assert await ending(stub.ServerReflectionInfo(asked, timeout=20)) is code


async def test_models_and_modalities_of_a_token(scripted: Scripted) -> None:
    """A model or modality that the token excludes is PERMISSION_DENIED, also by alias, and not in ListModels."""
    narrow = {"name": "narrow", "sha256": sha256("n"), "models": ["marengo3.0"], "modalities": ["text"]}
    other = {"name": "other", "sha256": sha256("o"), "models": ["Marengo-retrieval-2.7"]}
    async with scripted(answer, tokens=(*TOKENS, narrow, other)) as (served, upstream):
        for asked, field in (
            (pb.CreateEmbeddingUnaryRequest(model_name="marengo2.7", inputs=[text_input()]), "model_name"),
            (pb.CreateEmbeddingUnaryRequest(model_name="Marengo-retrieval-2.7", inputs=[text_input()]), "model_name"),
            (
                pb.CreateEmbeddingUnaryRequest(
                    model_name="marengo3.0", inputs=[text_input(), file_input("image", b"x")]
                ),
                "inputs[1].image",
            ),
        ):
            failure = await refused(served, bearer("n"), asked)
            assert (failure.code, failure.info.reason) == (PERMISSION_DENIED, "PERMISSION_DENIED")
            assert list(failure.fields) == [field]
        assert not upstream.visits
        assert await served.stub.CreateEmbeddingUnary(TEXT, metadata=bearer("n"), timeout=20).code() is OK
        assert await pages(served, "s1") == [["marengo3.0"], ["marengo3.5"], ["Marengo-retrieval-2.7"]]
        assert await pages(served, "n") == [["marengo3.0"]]
        assert await pages(served, "o") == [["Marengo-retrieval-2.7"]]
        asked_for = pb.ListModelsRequest(page_token="Marengo-retrieval-2.7")
        assert await served.stub.ListModels(asked_for, metadata=bearer("n")).code() is grpc.StatusCode.INVALID_ARGUMENT


async def pages(served: Served, token: str) -> list[list[str]]:
    """The names of the models, from pages of one model."""
    found, page_token = [], None
    while page_token != "":
        asked = pb.ListModelsRequest(page_size=1, page_token=page_token or "")
        page = await served.stub.ListModels(asked, metadata=bearer(token), timeout=20)
        found.append([model.name for model in page.models])
        page_token = page.next_page_token
    return found


def test_tokens_are_not_shown() -> None:
    """Tokens and hashes are not in debug logs, metrics, answers, reprs or the shown configuration; names are."""
    token = "ew_CANARY_right"
    entry = {"name": "search", "sha256": sha256(token), "modalities": ["text"]}
    written: dict[str, Any] = {"tokens": (entry,)}
    settings = settings_of(**written)
    shown = [repr(settings), str(settings), *render.shown(sources.Configuration(settings, {}, ()))]
    assert any('name = "search"' in line for line in shown)
    assert not re.search(f"CANARY|{sha256(token)}", "".join(shown))

    with pytest.raises(ValueError, match="sha256 must be 64") as caught:
        settings_of(**written | {"tokens": (entry | {"sha256": token},)})
    assert "CANARY" not in str(caught.value)


async def test_tokens_are_not_logged(tmp_path: Any) -> None:
    """A server process logs no token; calls have the name of their token in metrics and in the log."""
    token, wrong = "ew_CANARY_right", "ew_CANARY_wrong"
    config = tmp_path / "embedwire.toml"
    config.write_text(f'[[tokens]]\nname = "search"\nsha256 = "{sha256(token)}"\nmodalities = ["text"]\n')
    image = pb.CreateEmbeddingUnaryRequest(model_name="marengo3.0", inputs=[file_input("image", b"x")])
    async with ServerProcess.running(config=config, log_level="debug") as server:
        shown = []
        for metadata, asked in (
            (bearer(token), TEXT),
            (bearer(token), image),
            (bearer(wrong), TEXT),
            ([("authorization", f"Basic {token}")], TEXT),
        ):
            one = server.stub.CreateEmbeddingUnary(asked, metadata=metadata, timeout=20)
            shown += [str(await one.details()), str(await one.trailing_metadata()), str(await one.initial_metadata())]
        metrics = await asyncio.to_thread(server.metrics)
        assert await server.terminate() == 0

    log = "".join(server.log)
    assert 'embedwire_client_requests_total{client="search",reason="OK"} 1.0' in metrics
    assert 'embedwire_client_requests_total{client="search",reason="PERMISSION_DENIED"} 1.0' in metrics
    assert 'embedwire_client_inputs_total{client="search",modality="text"} 1.0' in metrics
    assert log.count("client=search") == 2
    assert log.count("reason=UNAUTHENTICATED") == 2
    assert not re.search(f"CANARY|{sha256(token)}|{sha256(wrong)}", log + metrics + "".join(shown))
