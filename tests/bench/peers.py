"""Rows of peers, 8 calls in flight: the official SDK, and the litellm proxy."""

import contextlib
import json
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path

from bench import bodies, requests
from bench.h2load import Load
from bench.processes import free_port, listening, running
from bench.rounds import Sample
from bench.rows import Bound, Measured, row
from bench.stage import Stage
from bench.subjects import Asking, reading

CONNECTIONS = 8
PANEL = "8 in flight"
_SDK = Path(__file__).with_name("sdk_caller.py")
_MODEL = "embedding"
# Its list of prices is in the package; nothing is fetched, and nothing told.
_QUIET = ("LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_TELEMETRY=False", "LITELLM_MODE=PRODUCTION", "NO_DOCS=True")


@row(5, "sdk", Bound("text ÷ TwelveLabs SDK", 6, 10))
async def sdk(stage: Stage) -> Measured:
    """Text calls/s ÷ the official async SDK that calls the same upstream itself, concurrency 8."""
    name = "TwelveLabs SDK"
    async with stage.gateway("text") as server:
        ours = await stage.streaming(server, requests.text(), 1, CONNECTIONS, 1)

        async def theirs(seconds: float) -> Sample:
            return await sdk_burst(stage, seconds)

        found = await stage.compare({"gateway": ours, name: theirs}, PANEL)
    return Measured([found.ratios("gateway", name)], found.notes())


async def sdk_burst(stage: Stage, seconds: float) -> Sample:
    """Let the SDK call for so long; it checks its answers itself."""
    program = stage.upstream.program
    before, cpu = await stage.upstream.counts("text"), program.cpu()
    words = [stage.upstream.url("text"), bodies.MODEL, str(CONNECTIONS), str(seconds), stage.directory / "text.json"]
    async with running([stage.peers / "bin/python", _SDK, *words], stage.directory / "sdk.log") as caller:
        told = json.loads((await caller.written(r"\{.*\}", 60 + seconds)).group())
    asked = (await stage.upstream.counts("text")).requests - before.requests
    share = (program.cpu() - cpu) / told["seconds"]
    return Sample(told["calls"] / told["seconds"], asked / told["all_calls"], share)


@row(6, "litellm", Bound("text ÷ litellm proxy", 15, 25))
async def litellm(stage: Stage) -> Measured:
    """Text calls/s ÷ the litellm proxy on an equal upstream, concurrency 8."""
    name = "litellm proxy"
    async with stage.gateway("text") as server, proxy(stage) as theirs:
        ours = await stage.streaming(server, requests.text(), 1, CONNECTIONS, 1)
        found = await stage.compare({"gateway": ours, name: theirs}, PANEL)
    return Measured([found.ratios("gateway", name)], found.notes())


@contextlib.asynccontextmanager
async def proxy(stage: Stage) -> AsyncGenerator[Asking]:
    """The proxy with one worker, as its documents advise for production, under load."""
    port, directory, key = free_port(), stage.directory, f"sk-{secrets.token_hex(32)}"  # it does not start without one
    model = {
        "model": "openai/text-embedding-3-small",
        "api_base": f"{stage.upstream.url('openai')}/v1",
        "api_key": "none",
    }
    settings = {
        "model_list": [{"model_name": _MODEL, "litellm_params": model}],
        "litellm_settings": {"telemetry": False},
    }
    (directory / "litellm.yaml").write_text(json.dumps(settings))  # which is YAML
    body = directory / "litellm.request"
    body.write_text(
        json.dumps({"model": _MODEL, "input": "a red fox jumps over a lazy dog", "encoding_format": "float"})
    )
    command = [
        "env",
        *_QUIET,
        f"LITELLM_MASTER_KEY={key}",
        stage.peers / "bin/litellm",
        "--config",
        directory / "litellm.yaml",
    ]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    async with running(command, directory / "litellm.log") as program:
        await listening(port, program)
        url = f"http://127.0.0.1:{port}/v1/embeddings"
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        answer = await reading(url, body, headers)
        if json.loads(answer)["data"][0]["embedding"] != bodies.vectors(1)[0].tolist():
            raise AssertionError("litellm's numbers are wrong")
        load = Load(
            url, body, CONNECTIONS, 1, tuple(f"{name}: {value}" for name, value in headers.items()), is_http1=True
        )
        yield Asking(load, len(answer), upstream=stage.upstream, way="openai")
