"""Debian's Prometheus as a process: it scrapes the servers of a test, evaluates rules and answers queries.

`make install-prometheus` provides the program.
"""

import asyncio
import contextlib
import dataclasses
import re
import shutil
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support import scaled_rules

SCRAPE_INTERVAL = 15.0  # of production, in seconds
LOOKBACK = 300.0  # Prometheus's default
_LISTENING = re.compile(r'msg="Listening on" address=(\S+)')


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """One series of a result: its labels, and its points (seconds since the epoch, value)."""

    labels: dict[str, str]
    points: list[tuple[float, float]]

    @property
    def last(self) -> float:
        return self.points[-1][1]


class QueryError(Exception):
    """Prometheus rejected a query."""


class Prometheus:
    """A running Prometheus.

    Attributes:
        factor: by which all durations of its rules and intervals are divided.
        interval: seconds between two scrapes, and between two evaluations of the rules.
        url: base URL of its HTTP API.
    """

    def __init__(self, client: httpx.AsyncClient, factor: float) -> None:
        self._client = client
        self.factor = factor
        self.interval = SCRAPE_INTERVAL / factor
        self.url = str(client.base_url)

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, directory: Path, targets: Mapping[str, str], rules: dict[str, Any], factor: float = 1.0
    ) -> AsyncGenerator["Prometheus"]:
        """Start it, and end it with the test.

        Args:
            directory: for its configuration, data and log.
            targets: HOST:PORT by job.
            rules: content of a file of rules.
            factor: see `Prometheus.factor`.
        """
        configuration = _configure(directory, targets, rules, factor)
        log = directory / "prometheus.log"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *_command(configuration, directory / "data", factor), stdout=file, stderr=file
            )
        try:
            address = await _address(log, process)
            async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30, trust_env=False) as client:
                yield cls(client, factor)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def query(self, expression: str) -> list[Series]:
        """Evaluate an expression now.

        Raises:
            QueryError: the expression is invalid.
        """
        found = await self._get("query", query=expression)
        return [Series(one["metric"], [_point(one["value"])]) for one in found["result"]]

    async def query_range(self, expression: str, start: float, end: float) -> list[Series]:
        """Evaluate an expression between two times, once for each scrape interval.

        Raises:
            QueryError: the expression is invalid.
        """
        found = await self._get("query_range", query=expression, start=start, end=end, step=self.interval)
        return [Series(one["metric"], [_point(point) for point in one["values"]]) for one in found["result"]]

    async def _get(self, name: str, **parameters: Any) -> Any:
        response = (await self._client.post(f"/api/v1/{name}", data=parameters)).json()
        if response["status"] != "success":
            raise QueryError(f"{parameters['query']}: {response['error']}")
        return response["data"]


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`.

    Raises:
        FileNotFoundError: it is not installed.
    """
    if (found := shutil.which(name)) is None:
        raise FileNotFoundError(f"{name} is not in PATH; run the target of the Makefile that needs it")
    return found


def _command(configuration: Path, data: Path, factor: float) -> list[str]:
    flags = {
        "config.file": configuration,
        "storage.tsdb.path": data,
        "web.listen-address": "127.0.0.1:0",
        "query.lookback-delta": scaled_rules.duration(LOOKBACK / factor),
    }
    # It ends with this process, in whatever way that ends.
    return ["setpriv", "--pdeathsig", "KILL", program("prometheus"), *(f"--{k}={v}" for k, v in flags.items())]


def _configure(directory: Path, targets: Mapping[str, str], rules: dict[str, Any], factor: float) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    interval = scaled_rules.duration(SCRAPE_INTERVAL / factor)
    (directory / "rules.yaml").write_text(yaml.safe_dump(scaled_rules.scaled(rules, factor)))
    times = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    jobs = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()]
    configuration = directory / "prometheus.yaml"
    configuration.write_text(
        yaml.safe_dump({"global": times, "rule_files": ["rules.yaml"], "scrape_configs": jobs}, sort_keys=False)
    )
    return configuration


async def _address(log: Path, process: asyncio.subprocess.Process) -> str:
    async with asyncio.timeout(60):
        while not (found := _LISTENING.search(log.read_text())):
            if process.returncode is not None:
                raise RuntimeError(f"prometheus ended with {process.returncode}:\n{log.read_text()}")
            await asyncio.sleep(0.05)
    return found[1]


def _point(pair: tuple[float, str]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])
