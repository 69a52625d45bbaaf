"""Calls from a shell: every kind of call with `buf curl`, by reflection."""

import asyncio
import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support import media
from tests.support.process import ServerProcess
from tests.support.serving import Served

SERVICE = "embedwire.v1.EmbeddingService"
BUF = str(Path(sys.executable).with_name("buf"))


async def curl(server: ServerProcess, method: str, *messages: Any) -> tuple[int, list[Any], str]:
    """Run `buf curl`; exit code, decoded answers, standard error."""
    command = [BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--data", "@-"]
    ended = await run([*command, f"http://{server.target}/{method}"], "".join(map(json.dumps, messages)))
    return ended.returncode, list(_documents(ended.stdout)), ended.stderr


def embed(*inputs: Any, **more: Any) -> dict[str, Any]:
    return {"model_name": "marengo3.0", "inputs": list(inputs), **more}


@pytest.mark.parametrize("reflection", ["grpc-v1", "grpc-v1alpha"])
async def test_services_are_listed_and_described(reflection: str) -> None:
    """Reflection lists the service, its methods and health, in both versions of the protocol."""
    async with ServerProcess.running() as server:
        buf = [BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge", "--reflect-protocol", reflection]
        listed = await run([*buf, "--list-services", f"http://{server.target}"])
        methods = await run([*buf, "--list-methods", f"http://{server.target}"])

    assert {SERVICE, "grpc.health.v1.Health"} <= set(listed.stdout.split())
    assert {f"{SERVICE}/CreateEmbedding", f"{SERVICE}/CreateEmbeddingFromUpload"} <= set(methods.stdout.split())


@pytest.mark.parametrize(
    "symbol", [SERVICE, f"{SERVICE}.CreateEmbedding", "embedwire.v1.Input", "google.rpc.ErrorInfo"]
)
async def test_any_symbol_can_be_described(served: Served, symbol: str) -> None:
    """`grpcurl describe` takes services, methods and messages, also those of error details."""
    reflection = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    call = reflection.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)])
    )
    answers = [answer async for answer in call]

    assert [answer.WhichOneof("message_response") for answer in answers] == ["file_descriptor_response"]


async def test_unknown_symbols_cannot_be_described(served: Served) -> None:
    """An unknown name is NOT_FOUND."""
    reflection = reflection_pb2_grpc.ServerReflectionStub(served.channel)
    wanted = reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{SERVICE}.Nothing")
    answers = [answer async for answer in reflection.ServerReflectionInfo(iter([wanted]))]

    assert [answer.error_response.error_code for answer in answers] == [grpc.StatusCode.NOT_FOUND.value[0]]


async def test_each_kind_of_call_works() -> None:
    """Text, image, audio, several inputs, unary, upload, models and health take and return JSON."""
    png = base64.b64encode(media.png()).decode()
    wav = base64.b64encode(media.wav(7)).decode()
    inputs = [
        {"key": "t", "text": {"value": "a red fox"}},
        {"key": "i", "image": {"source": {"file": {"data": png, "file_name": "a.png"}}}},
        {"key": "a", "audio": {"source": {"file": {"data": wav, "file_name": "a.wav"}}, "start_offset_sec": 1}},
    ]
    async with ServerProcess.running() as server:
        code, answers, _ = await curl(server, f"{SERVICE}/CreateEmbedding", embed(*inputs))
        assert code == 0
        events = [event for answer in answers for event in answer["events"]]
        assert sum("result" in event for event in events) == 3
        floats = next(event["segment"]["vector"]["floatValues"]["values"] for event in events if "segment" in event)
        assert len(floats) == 512

        code, (answer,), _ = await curl(server, f"{SERVICE}/CreateEmbeddingUnary", embed(*inputs))
        assert (code, len(answer["embeddings"])) == (0, 3)

        upload = {"audio": {"source": {"upload": {"file_name": "a.wav"}}}}
        code, answers, _ = await curl(
            server,
            f"{SERVICE}/CreateEmbeddingFromUpload",
            {"request": embed(upload)},
            {"chunk": {"data": wav[: 4 * 9999]}},
            {"chunk": {"data": wav[4 * 9999 :], "last": True}},
        )
        assert (code, answers[-1]["events"][-1]["result"]["segmentCount"]) == (0, 4)

        code, (models,), _ = await curl(server, f"{SERVICE}/ListModels", {})
        assert [model["name"] for model in models["models"]] == ["marengo3.0", "marengo3.5", "Marengo-retrieval-2.7"]

        code, (health,), _ = await curl(server, "grpc.health.v1.Health/Check", {"service": SERVICE})
        assert health == {"status": "SERVING"}


async def test_an_error_comes_with_its_details() -> None:
    """A rejected request shows code, message and the decoded details."""
    async with ServerProcess.running() as server:
        code, _, shown = await curl(server, f"{SERVICE}/CreateEmbedding", embed({"text": {"value": ""}}))

    failure = json.loads(shown)
    assert code != 0
    assert failure["code"] == "invalid_argument"
    assert failure["message"] == "inputs[0].text.value: must not be empty"
    types = [detail["type"] for detail in failure["details"]]
    assert types == ["google.rpc.ErrorInfo", "embedwire.v1.Failure", "google.rpc.BadRequest"]


async def run(command: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run, command, input=stdin, capture_output=True, text=True, timeout=30, check=False
    )


def _documents(text: str) -> Any:
    decoder, at = json.JSONDecoder(), 0
    while (text := text[at:].lstrip()) != "":
        document, at = decoder.raw_decode(text)
        yield document
