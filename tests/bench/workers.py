"""The row of several processes: two workers beside one."""

from bench import requests
from bench.processes import BOTH_CORES
from bench.rows import Bound, Measured, row
from bench.stage import Stage
from bench.subjects import lasting

CONNECTIONS, CALLS_EACH = 16, 4


@row(8, "workers", Bound("two workers ÷ one", 1.4, 1.8))
async def workers(stage: Stage) -> Measured:
    """Two workers ÷ one, 16 client connections; on two cores both share them with the load and the upstream."""
    async with stage.gateway("text") as one, stage.gateway("text", cores=BOTH_CORES, workers=2) as two:
        subjects = {
            name: lasting(await stage.streaming(server, requests.text(), 1, CONNECTIONS, CALLS_EACH))
            for name, server in {"two workers": two, "one worker": one}.items()
        }
        found = await stage.compare(subjects)
    return Measured([found.ratios("two workers", "one worker")], found.notes())
