"""A client with one call at a time; prints the medians of each round in seconds.

    python -m benchmarks.one_caller TARGET URL MODEL ROUNDS CALLS

The columns are the gateway's stream, its unary call, and a direct POST.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import httpx

import embedwire
from benchmarks import bodies

TEXT = "a red fox jumps over a lazy dog"
EXPECTED = bodies.vectors(1)[0].astype("<f4").tolist()


async def median(call: Callable[[], Awaitable[bool]], calls: int) -> float:
    """Return the median duration of a call; every answer must be correct."""
    taken = []
    for _ in range(calls):
        began = time.perf_counter()
        is_good = await call()
        taken.append(time.perf_counter() - began)
        if not is_good:
            raise AssertionError("an answer is wrong")
    return statistics.median(taken)


async def main(target: str, url: str, model: str, rounds: int, calls: int) -> list[list[float]]:
    """Measure the three alternately; the first round does not count."""
    async with embedwire.AsyncClient(target) as client, httpx.AsyncClient() as http:
        vectors = [
            await client.embed(model, embedwire.Text(TEXT)),
            await client.embed(model, embedwire.Text(TEXT)),
        ]
        if [found.vector.tolist() for found in vectors] != [EXPECTED] * 2:
            raise AssertionError("the numbers are wrong")

        async def stream() -> bool:
            return len((await client.embed(model, embedwire.Text(TEXT))).vector) == bodies.DIMENSIONS

        async def unary() -> bool:
            return len((await client.embed(model, embedwire.Text(TEXT))).vector) == bodies.DIMENSIONS

        async def direct() -> bool:
            files = {"model_name": (None, model), "text": (None, TEXT)}
            reply = await http.post(f"{url}/embed", files=files, headers={"x-api-key": "a-key-of-the-benchmark"})
            return reply.status_code == httpx.codes.OK and len(reply.content) > bodies.DIMENSIONS

        return [[await median(call, calls) for call in (stream, unary, direct)] for _ in range(rounds + 1)][1:]


if __name__ == "__main__":
    found = asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
    print(json.dumps(found), flush=True)  # noqa: T201 - the program's output
