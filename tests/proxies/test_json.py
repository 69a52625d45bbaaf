"""JSON through Envoy's transcoder."""

import asyncio
import json
import re
from typing import Any

import httpx
import pytest

from tests.proxies.calls import SECONDS
from tests.proxies.proxy import ROOT, Proxy
from tests.support.upstreams import ScriptedHttpServer, Visit, reply

SERVICE = "/embedwire.v1.EmbeddingService"
# Method and body of each.
COMMANDS = re.findall(
    r"curl [^\n]*EmbeddingService/(\w+) .*?-d '(.*?)'", (ROOT / "docs/proxies.md").read_text(), re.DOTALL
)
FOX: dict[str, Any] = {"key": "q1", "text": {"value": "a red fox"}}


def asked(*inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model_name": "marengo3.0", "inputs": inputs, **more}


async def post(envoy: Proxy, method: str, body: object) -> httpx.Response:
    async with httpx.AsyncClient(verify=envoy.trusted, timeout=SECONDS) as client:
        return await client.post(f"https://{envoy.target}{SERVICE}/{method}", json=body)


@pytest.mark.usefixtures("upstream")
async def test_a_text_is_embedded(envoy: Proxy) -> None:
    """A unary call is a POST of JSON, answered by JSON with the names of the contract."""
    answer = await post(envoy, "CreateEmbeddingUnary", asked(FOX))
    (embedding,) = answer.json()["embeddings"]

    assert answer.status_code == 200
    assert embedding["result"]["input_key"] == "q1"
    assert len(embedding["segments"][0]["vector"]["float_values"]["values"]) == 512


async def test_a_stream_is_a_line_for_each_message(envoy: Proxy, upstream: ScriptedHttpServer) -> None:
    """The line of a segment is sent while the upstream holds back the rest of its reply."""
    body = json.dumps(reply("audio_embedding", segments=2)).encode()
    rest_is_wanted = asyncio.Event()

    async def script(visit: Visit) -> None:
        await visit.head(length=len(body))
        await visit.send(body[: 2 * len(body) // 3])
        await rest_is_wanted.wait()
        await visit.send(body[2 * len(body) // 3 :])

    upstream.script = script
    audio = {"audio": {"source": {"url": "http://media.test/a.mp3"}}}
    async with (
        httpx.AsyncClient(verify=envoy.trusted, timeout=SECONDS) as client,
        client.stream("POST", f"https://{envoy.target}{SERVICE}/CreateEmbedding", json=asked(audio)) as answer,
    ):
        lines = answer.aiter_lines()
        first = json.loads(await anext(lines))
        rest_is_wanted.set()
        rest = [json.loads(line) async for line in lines]

    assert [list(event) for event in first["events"]] == [["segment"]]
    assert [list(event) for message in rest for event in message["events"]] == [["segment"], ["result"]]


async def test_a_bad_request_has_details(envoy: Proxy, upstream: ScriptedHttpServer) -> None:
    """A failed call has an HTTP status, and its failure is in the body."""
    answer = await post(envoy, "CreateEmbeddingUnary", asked({"text": {}}))
    body = answer.json()
    details = {detail["@type"].removeprefix("type.googleapis.com/"): detail for detail in body["details"]}
    failure = details["embedwire.v1.Failure"]

    assert (answer.status_code, body["code"]) == (400, 3)
    assert failure["reason"] == "ERROR_REASON_INVALID_REQUEST"
    assert failure["field_violations"][0]["field"] == "inputs[0].text.value"
    assert {"google.rpc.ErrorInfo", "google.rpc.BadRequest"} < set(details)
    assert upstream.visits == []


async def test_an_unknown_field_is_ignored(envoy: Proxy, upstream: ScriptedHttpServer) -> None:
    """Envoy drops a field that the contract does not have, without an error."""
    answer = await post(envoy, "CreateEmbeddingUnary", asked(FOX, vector_encodin="VECTOR_ENCODING_FLOAT32_LE"))

    assert answer.status_code == 200
    assert len(upstream.visits) == 1


@pytest.mark.parametrize(("path", "body"), COMMANDS)
async def test_the_commands_of_the_page(envoy: Proxy, upstream: ScriptedHttpServer, path: str, body: str) -> None:
    """The requests of the curl commands in docs/proxies.md are answered."""

    async def script(visit: Visit) -> None:
        await visit.answer(reply("audio_embedding" if "audio" in body else "text_embedding"))

    upstream.script = script
    answer = await post(envoy, path, json.loads(body))

    assert answer.status_code == 200
    assert "segment_count" in answer.text
