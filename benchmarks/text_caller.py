"""A client that embeds one text after another; prints the start (CLOCK_MONOTONIC, s) and the duration of each call.

python -m benchmarks.text_caller TARGET MODEL
"""

import asyncio
import sys
import time

import embedwire

TEXT = embedwire.Text("a red fox jumps over a lazy dog")


async def main(target: str, model: str) -> None:
    """Call until killed."""
    async with embedwire.AsyncClient(target) as client:
        await client.embed(model, TEXT)  # connected before the first measurement
        while True:
            began = time.monotonic()
            await client.embed(model, TEXT)
            print(began, time.monotonic() - began, flush=True)  # noqa: T201 - the program's output


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
