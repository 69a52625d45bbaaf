"""Rows of peers, 8 calls in flight: the official SDK, and the litellm proxy."""

import contextlib
import functools
import json
import secrets
from collections.abc import AsyncGenerator
from pathlib import Path

from benchmarks import bodies, requests
from benchmarks.h2load import Load
from benchmarks.processes import Command, free_port, listening, running
from benchmarks.rounds import GATEWAY, Comparison, Sample, Subject
from benchmarks.rows import Bound, Measured, row
from benchmarks.stage import Stage
from benchmarks.subjects import Asking, reading

CONNECTIONS = 8
SDK, LITELLM = "TwelveLabs SDK", "litellm proxy"
_SDK = Path(__file__).with_name("sdk_caller.py")
_MODEL = "embedding"
_TEXT = "a red fox jumps over a lazy dog"
# Its price list is in the package: nothing is downloaded, and no telemetry is sent.
_QUIET = ("LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_TELEMETRY=False", "LITELLM_MODE=PRODUCTION", "NO_DOCS=True")


@row(5, "sdk", Bound("text ÷ TwelveLabs SDK", 8, 12))
async def sdk(stage: Stage) -> Measured:
    """Text calls/s ÷ the official async SDK that calls the same upstream itself, concurrency 8."""
    found = await stage.panel("8 in flight", compared)
    return Measured([found.ratios(GATEWAY, SDK)], found.notes(GATEWAY, SDK))


@row(6, "litellm", Bound("text ÷ litellm proxy", 19, 30))
async def litellm(stage: Stage) -> Measured:
    """Text calls/s ÷ the litellm proxy on an equal upstream, concurrency 8."""
    found = await stage.panel("8 in flight", compared)
    return Measured([found.ratios(GATEWAY, LITELLM)], found.notes(GATEWAY, LITELLM))


async def compared(stage: Stage) -> Comparison:
    """Compare the requested peers."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(stage.gateway("text"))
        subjects: dict[str, Subject] = {GATEWAY: await stage.streaming(server, requests.text(), 1, CONNECTIONS, 1)}
        if "sdk" in stage.wanted:
            subjects[SDK] = functools.partial(sdk_burst, stage)
        if "litellm" in stage.wanted:
            subjects[LITELLM] = await stack.enter_async_context(proxy(stage))
        return await stage.compare(subjects)


async def sdk_burst(stage: Stage, seconds: float) -> Sample:
    """Let the SDK make calls for this many seconds; it checks its answers itself."""
    program = stage.upstream.program
    before, cpu = await stage.upstream.counts("text"), program.cpu()
    words: Command = [
        stage.upstream.url("text"),
        bodies.MODEL,
        str(CONNECTIONS),
        str(seconds),
        stage.directory / "text.json",
    ]
    command: Command = [stage.peers / "bin/python", _SDK, *words]
    async with running(command, stage.directory / "sdk.log") as caller:
        counted = json.loads((await caller.written(r"\{.*\}", 60 + seconds)).group())
    asked = (await stage.upstream.counts("text")).requests - before.requests
    share = (program.cpu() - cpu) / counted["seconds"]
    return Sample(counted["calls"] / counted["seconds"], asked / counted["all_calls"], share)


@contextlib.asynccontextmanager
async def proxy(stage: Stage) -> AsyncGenerator[Asking]:
    """Run the proxy with one worker, under load."""
    port, key = free_port(), f"sk-{secrets.token_hex(32)}"  # required to start
    settings, asked = _configured(stage)
    words = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    command: Command = ["env", *_QUIET, f"LITELLM_MASTER_KEY={key}", stage.peers / "bin/litellm", *words]
    async with running([*command, "--config", settings], stage.directory / "litellm.log") as program:
        await listening(port, program)
        url = f"http://127.0.0.1:{port}/v1/embeddings"
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        answer = await reading(url, asked, headers)
        if json.loads(answer)["data"][0]["embedding"] != bodies.vectors(1)[0].tolist():
            raise AssertionError("litellm's numbers are wrong")
        lines = tuple(f"{name}: {value}" for name, value in headers.items())
        load = Load(url, asked, CONNECTIONS, 1, lines, is_http1=True)
        yield Asking(load, len(answer), upstream=stage.upstream, way="openai")


def _configured(stage: Stage) -> tuple[Path, Path]:
    """Write the files: its configuration and the request."""
    base_url = f"{stage.upstream.url('openai')}/v1"
    model = {"model": "openai/text-embedding-3-small", "api_base": base_url, "api_key": "none"}
    models = [{"model_name": _MODEL, "litellm_params": model}]
    settings, asked = stage.directory / "litellm.yaml", stage.directory / "litellm.request"
    settings.write_text(
        json.dumps({"model_list": models, "litellm_settings": {"telemetry": False}})
    )  # JSON is valid YAML
    asked.write_text(json.dumps({"model": _MODEL, "input": _TEXT, "encoding_format": "float"}))
    return settings, asked
