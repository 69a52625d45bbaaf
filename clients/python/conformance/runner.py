"""The runner of the conformance suite (tests/conformance): a job a line in, an outcome a line out.

It uses what is public of the client, and never decides whether an outcome is right. With --asyncio it does the same
with AsyncClient.
"""

import asyncio
import base64
import dataclasses
import json
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import embedwire
from embedwire import (
    TLS,
    AsyncClient,
    Audio,
    Client,
    DynamicSegmentation,
    Embedding,
    EmbedwireError,
    Failure,
    FixedSegmentation,
    Image,
    Input,
    Progress,
    Segment,
    Text,
)

Json = dict[str, Any]

OF_RESULT = [
    *("model_name", "dimensions", "segment_count", "input_url", "input_filename", "truncated", "media_duration_sec"),
    *("attempts", "upstream", "input_tokens", "upstream_task_id", "cache_status"),
]
SOURCES = ("url", "path", "asset_id", "task_id")


def main() -> None:
    """Do every job; in one event loop, if asked to."""
    write(
        asyncio.run(outcome_async(job)) if "--asyncio" in sys.argv else outcome(job)
        for job in map(json.loads, sys.stdin)
    )


def write(outcomes: Iterable[Json]) -> None:
    """One line for each."""
    for found in outcomes:
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def new_outcome(job: Json) -> Json:
    """The outcome of a job that has not begun."""
    return {"name": job["name"], "events": [], "progress": [], "models": None, "error": None, "cancelled": False}


def outcome(job: Json) -> Json:
    """What came of one job."""
    found: Json = new_outcome(job)
    try:
        with Client(job["target"], **connection(job)) as client:
            if job["call"] == "models":
                found["models"] = [dataclasses.asdict(model) for model in client.models()]
                return found
            asked: Any = (job["model"], [an_input(spec) for spec in job["inputs"]])
            if job["call"] == "stream":
                with client.stream(*asked, **options(job)) as events:
                    for each in events:
                        found["events"].append(event(each))
                        if len(found["events"]) == job["cancel_after"]:
                            found["cancelled"] = True
                            break
            elif job["call"] == "embed":
                for embedding in client.embed(*asked, on_progress=on_progress(job, found), **options(job)):
                    found["events"] += events_of(embedding)
            else:
                with client.map(asked[0], iter(asked[1]), **map_options(job, found)) as embeddings:
                    for embedding in embeddings:
                        found["events"] += events_of(embedding)
    except Exception as caught:  # noqa: BLE001 - whatever it is, it is the outcome
        found["error"] = error(caught)
    return found


async def outcome_async(job: Json) -> Json:
    """The same with AsyncClient."""
    found: Json = new_outcome(job)
    try:
        async with AsyncClient(job["target"], **connection(job)) as client:
            if job["call"] == "models":
                found["models"] = [dataclasses.asdict(model) for model in await client.models()]
                return found
            asked: Any = (job["model"], [an_input(spec) for spec in job["inputs"]])
            if job["call"] == "stream":
                async with client.stream(*asked, **options(job)) as events:
                    async for each in events:
                        found["events"].append(event(each))
                        if len(found["events"]) == job["cancel_after"]:
                            found["cancelled"] = True
                            break
            elif job["call"] == "embed":
                for embedding in await client.embed(*asked, on_progress=on_progress(job, found), **options(job)):
                    found["events"] += events_of(embedding)
            else:
                async with client.map(asked[0], iter(asked[1]), **map_options(job, found)) as embeddings:
                    async for embedding in embeddings:
                        found["events"] += events_of(embedding)
    except Exception as caught:  # noqa: BLE001 - whatever it is, it is the outcome
        found["error"] = error(caught)
    return found


def connection(job: Json) -> Json:
    """What a client is made with."""
    return {
        "tls": tls(job["tls"]) if job["tls"] else False,
        "token": job["token"],
        "upstream_api_key": job["upstream_api_key"],
        "timeout": job["timeout"],
        "wait_for_ready": job["wait_for_ready"],
        "channels": job["channels"] or 1,
    }


def tls(paths: Json) -> TLS:
    """Certificates and key, read."""
    names = ("root_certificates", "certificate_chain", "private_key")
    read = {name: Path(paths[name]).read_bytes() if paths[name] else None for name in names}
    return TLS(**read, server_name=paths["server_name"])


def options(job: Json) -> Any:  # noqa: ANN401 - CallOptions
    """What a call chooses."""
    return {name: job[name] for name in ("max_retries", "request_id", "encoding", "dimensions", "include_uncertainty")}


def map_options(job: Json, found: Json) -> Any:  # noqa: ANN401 - MapOptions
    """What a run chooses."""
    chosen = {name: value for name, value in (job["map"] or {}).items() if value is not None}
    return {name: job[name] for name in ("max_retries", "encoding", "dimensions", "include_uncertainty")} | {
        "on_progress": on_progress(job, found),
        **chosen,
    }


def on_progress(job: Json, found: Json) -> Callable[[Progress], None] | None:
    """The function that collects the progress of a call, if the job has one."""
    return (lambda progress: found["progress"].append(event(progress))) if job["on_progress"] else None


def an_input(spec: Json) -> Input:
    """One input."""
    if spec["kind"] == "text":
        return Text(spec["value"], key=spec["key"], truncate=spec["truncate"])
    arguments: Json = {name: spec[name] for name in ("key", "file_name", "media_type", *SOURCES) if name in spec}
    if "data" in spec:
        arguments["data"] = base64.b64decode(spec["data"])
    if "stream" in spec:
        arguments["chunks"] = pieces(spec["stream"])
    if spec["kind"] == "image":
        return Image(**arguments)
    names = ("start_offset_sec", "end_offset_sec", "embedding_options", "embedding_scopes", "embedding_types")
    arguments |= {name: spec[name] for name in (*names, "processing_mode")}
    return Audio(**arguments, segmentation=segmentation(spec["segmentation"]))


def segmentation(spec: Json | None) -> FixedSegmentation | DynamicSegmentation | None:
    """The segmentation of audio."""
    if spec is None:
        return None
    return FixedSegmentation(spec["fixed"]) if "fixed" in spec else DynamicSegmentation(spec["dynamic"])


def pieces(path: str) -> Iterator[bytes]:
    """Yield a file as chunks, without its size and name."""
    with Path(path).open("rb") as file:
        while piece := file.read(100_000):
            yield piece


def event(found: embedwire.Event) -> Json:
    """A segment, a result or progress."""
    about = {"input_index": found.input_index, "input_key": found.input_key}
    if isinstance(found, Segment):
        names = (
            "segment_index",
            "modality",
            "start_offset_sec",
            "end_offset_sec",
            "embedding_option",
            "embedding_scope",
        )
        vectors = {name: packed(getattr(found, name)) for name in ("vector", "uncertainty")}
        return {"segment": about | {name: getattr(found, name) for name in names} | vectors}
    if isinstance(found, Progress):
        return {"progress": about | {"stage": found.stage, "upstream_task_id": found.upstream_task_id}}
    failed = {"failure": found.failure and failure(found.failure)}
    return {"result": about | {name: getattr(found, name) for name in OF_RESULT} | failed}


def packed(vector: embedwire.Vector | None) -> str | None:
    """The values of a vector."""
    return None if vector is None else base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def events_of(embedding: Embedding) -> Iterator[Json]:
    """The segments of an embedding, and its result."""
    yield from (event(segment) for segment in embedding.segments)
    yield event(embedding.result)


def failure(found: Failure) -> Json:
    """The facts of a failure."""
    return dataclasses.asdict(found)


def error(caught: Exception) -> Json:
    """What was raised: the server's, or the client's own refusal."""
    if isinstance(caught, EmbedwireError):
        about = {"kind": type(caught).__name__, "attempts": caught.attempts, "request_id": caught.request_id}
        return failure(caught.failure) | about
    kinds = {OSError: "File", ValueError: "Argument", TypeError: "Argument"}
    kind = next((name for base, name in kinds.items() if isinstance(caught, base)), type(caught).__name__)
    return {"kind": kind, "message": str(caught)}


if __name__ == "__main__":
    main()
