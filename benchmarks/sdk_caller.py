"""The official SDK as a client, in the peers' environment: concurrent callers for some seconds; prints their counts.

python sdk_caller.py URL MODEL CALLERS SECONDS REPLY
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from twelvelabs import AsyncTwelveLabs

WARM_SECONDS = 0.5


async def main(url: str, model: str, callers: int, seconds: float, expected: list[float]) -> dict[str, float]:
    """Call for a short warm-up, then for the measured time."""
    client = AsyncTwelveLabs(api_key="a-key-of-the-benchmark", base_url=url)
    done = 0

    async def call_until(ends: float) -> None:
        nonlocal done
        while time.perf_counter() < ends:
            answer = await client.embed.create(model_name=model, text="a red fox jumps over a lazy dog")
            segments = answer.text_embedding.segments if answer.text_embedding else None
            if not segments or segments[0].float_ != expected:
                raise AssertionError("the numbers are wrong")
            done += 1

    async def for_seconds(wanted: float) -> float:
        began = time.perf_counter()
        await asyncio.gather(*(call_until(began + wanted) for _ in range(callers)))
        return time.perf_counter() - began

    await for_seconds(WARM_SECONDS)
    warm = done
    taken = await for_seconds(seconds)
    return {"calls": done - warm, "all_calls": done, "seconds": taken}


if __name__ == "__main__":
    reply = json.loads(Path(sys.argv[5]).read_bytes())["text_embedding"]["segments"][0]["float"]
    found = asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), reply))
    print(json.dumps(found), flush=True)  # noqa: T201 - the program's output
