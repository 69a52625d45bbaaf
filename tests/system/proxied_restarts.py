"""Rolling restart of two replicas behind nginx, with the file of `deploy/proxies`."""

import asyncio
import itertools
import shutil
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from embedwire.v1 import embedding_pb2 as pb
from tests.proxies.proxy import Proxy
from tests.proxies.stage import certificate
from tests.support.media import padded_wav
from tests.support.messages import request, text_input, upload_input, url_input
from tests.support.ports import held_port
from tests.system.answers import segments, slow
from tests.system.callers import Callers, Outcome, closed_loop, names
from tests.system.experiment import Experiment, guarantee
from tests.system.replicas import Replica
from tests.system.upstream import Answer, Asked
from tests.system.verdict import Verdict

DEADLINE = 60
# A tenth of the calls each; the others are texts.
KINDS = ("stream", "upload")
RESULTS = {"text": 1, "stream": 3, "upload": 1}
STREAM_SECONDS, SEGMENTS = 1.0, 12
CHUNKS, CHUNK_BYTES, CHUNK_PAUSE = 8, 64 << 10, 0.1

_SEGMENTS = Answer("200", segments(SEGMENTS, STREAM_SECONDS))
_FAST = slow(0.02)


@guarantee("proxied-restart")
async def replicas_restart_behind_nginx(experiment: Experiment) -> Verdict:
    """While two replicas behind nginx are replaced one by one, no text, stream or upload fails, without retries."""
    with held_port() as first, held_port() as second, TemporaryDirectory() as directory:
        return await _restarted(experiment, [first, second], Path(directory))


async def _restarted(experiment: Experiment, ports: list[int], directory: Path) -> Verdict:
    least, rounds = experiment.scaled(5_000, 400), experiment.scaled(10, 2)
    (directory / "nginx").mkdir()
    files = certificate(directory)
    async with experiment.upstream(_answer) as upstream:
        replicas = [Replica(experiment, upstream.base_url, port) for port in ports]
        try:
            for replica in replicas:
                await replica.start()
            targets = [replica.target for replica in replicas]
            async with (
                Proxy.running("nginx", targets, files, directory / "nginx") as proxy,
                Callers.connected(proxy.target, 4, credentials=files.credentials()) as callers,
            ):
                restarting = asyncio.create_task(
                    _restart_one_by_one(replicas, rounds, lambda: len(callers.outcomes) >= least)
                )
                load = itertools.takewhile(lambda _: not restarting.done(), _calls())
                await closed_loop(load, experiment.scaled(24, 12), lambda name: _call(callers, name))
                await restarting
        finally:
            for replica in replicas:
                await replica.kill()
            shutil.copy(directory / "nginx/log", experiment.directory / f"{experiment.name}-nginx.log")
    return _verdict(callers.outcomes, [code for replica in replicas for code in replica.codes])


def _answer(asked: Asked) -> Answer:
    """Audio of a stream arrives as segments over a second; all else is answered after 20 ms."""
    return _SEGMENTS if asked.line.input.startswith("http") and asked.line.modality == "audio" else _FAST(asked)


def _calls() -> Iterator[str]:
    """Names of calls, which begin with their kind."""
    kinds = itertools.cycle([*KINDS, *["text"] * 8])
    return (f"{kind}-{name}" for kind, name in zip(kinds, names(sys.maxsize), strict=False))


async def _call(callers: Callers, name: str) -> Outcome:
    kind = name.partition("-")[0]
    if kind == "upload":
        return await callers.upload(_upload(name), DEADLINE, name=name)
    if kind == "text":
        return await callers.embed(name, DEADLINE)
    media = [url_input(modality, f"http://media.test/{name}") for modality in ("image", "audio")]
    return await callers.embed(request(text_input(name), *media), DEADLINE, name=name)


async def _upload(name: str) -> AsyncGenerator[pb.CreateEmbeddingFromUploadRequest]:
    """A file whose chunks arrive over almost a second."""
    content = padded_wav(CHUNKS * CHUNK_BYTES)
    asked = request(upload_input("audio", file_name=f"{name}.wav"))
    yield pb.CreateEmbeddingFromUploadRequest(request=asked)
    for index in range(CHUNKS):
        await asyncio.sleep(CHUNK_PAUSE)
        data = content[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
        chunk = pb.UploadChunk(input_index=0, data=data, last=index == CHUNKS - 1)
        yield pb.CreateEmbeddingFromUploadRequest(chunk=chunk)


async def _restart_one_by_one(replicas: list[Replica], rounds: int, is_over: Callable[[], bool]) -> None:
    """Replace each by a new process as soon as the one before serves, in this many rounds or more."""
    await asyncio.sleep(1.0)
    done = 0
    while done < rounds or not is_over():
        for replica in replicas:
            await replica.restart()
        done += 1


def _verdict(outcomes: list[Outcome], codes: list[int]) -> Verdict:
    verdict = Verdict()
    failed = [one for one in outcomes if one.code != "OK" or one.message or one.results != RESULTS[_kind(one)]]
    why = sorted({f"{_kind(one)} {one.code} {one.reason} {one.message}" for one in failed})
    verdict.exactly(f"of {len(outcomes)} calls failed {' '.join(why)}".strip(), len(failed), 0)
    kinds = Counter(_kind(one) for one in outcomes)
    for kind in RESULTS:
        verdict.at_least(f"{kind} calls", kinds[kind], len(outcomes) // 20)
    verdict.exactly(f"exit codes of {len(codes)} replaced processes", set(codes), {0})
    return verdict


def _kind(outcome: Outcome) -> str:
    return outcome.name.partition("-")[0]
