"""The journal of the upstream: one line for each request."""

import asyncio
import bisect
import dataclasses
import json
import math
from collections import Counter
from pathlib import Path


@dataclasses.dataclass(slots=True)
class Line:
    """One request. Times are of `time.monotonic`, which all processes of a machine share.

    `input` is the text or URL that the request carries, or else the name of its file.
    """

    at: float
    connection: int
    input: str
    modality: str
    attempt: int
    answer: str = ""
    answered: float | None = None
    closed: float | None = None


class Journal:
    """The lines in order of arrival, and queries on them."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.connections = 0
        self._attempts: Counter[str] = Counter()
        self._expected: dict[str, asyncio.Future[Line]] = {}

    def __len__(self) -> int:
        return len(self.lines)

    def add(self, at: float, connection: int, name: str, modality: str) -> Line:
        self._attempts[name] += 1
        line = Line(at, connection, name, modality, self._attempts[name])
        self.lines.append(line)
        if expected := self._expected.pop(name, None):
            expected.set_result(line)
        return line

    async def arrival(self, name: str) -> Line:
        """Wait for the first request with this input."""
        if name in self._attempts:
            return next(line for line in self.lines if line.input == name)
        expected = self._expected[name] = asyncio.get_running_loop().create_future()
        return await asyncio.wait_for(expected, 30)

    def of(self, name: str) -> list[Line]:
        return [line for line in self.lines if line.input == name]

    def between(self, start: float, end: float) -> list[Line]:
        return [line for line in self.lines if start <= line.at < end]

    def unfinished(self) -> list[Line]:
        """Return requests without a complete response whose connection is open."""
        return [line for line in self.lines if line.answered is None and line.closed is None]

    def most_within(self, seconds: float, since: float = -math.inf) -> int:
        """Return the largest number of requests in any sliding window of this length that begins at this time or later.

        A window begins with a request, and does not contain one that is exactly `seconds` later.
        """
        times = sorted(line.at for line in self.lines if line.at >= since)
        return max((bisect.bisect_left(times, at + seconds) - index for index, at in enumerate(times)), default=0)

    def write(self, path: Path) -> None:
        with path.open("w") as file:
            file.writelines(json.dumps(dataclasses.asdict(line)) + "\n" for line in self.lines)
