"""Computations of the benchmark: statistics, tables, the plot and the test proxy."""

import asyncio
import contextlib
import itertools
import json
import os
import re
import resource
import statistics
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from benchmarks import bodies, connections, decoding, docs, gateway, machine, pairs, plot, relay, report, workers
from benchmarks.__main__ import BOUNDS
from benchmarks.against import Paired
from benchmarks.builds import Build
from benchmarks.machine import CpuTimes
from benchmarks.rounds import Sample, Subject, with_restarts
from benchmarks.rows import Bound, Figure
from benchmarks.stage import alone

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(("connections", "workers_"), [(1, 2), (2, 2), (5, 2), (9, 2), (6, 3), (4, 4), (5, 4)])
def test_expected_speedup_is_the_mean_over_all_assignments(connections: int, workers_: int) -> None:
    """The expected speedup equals the mean over an enumeration of all assignments, for few connections."""
    assignments = itertools.product(range(workers_), repeat=connections)
    speedups = [connections / max(map(assignment.count, set(assignment))) for assignment in assignments]
    assert workers.expected_speedup(connections, workers_) == pytest.approx(statistics.fmean(speedups), rel=1e-12)


def test_expected_speedup_of_many_connections() -> None:
    """The expected speedup follows the binomial distribution: 1.70 of 2 for 16 connections, 1.83 for 64."""
    assert workers.expected_speedup(16, 2) == pytest.approx(1.70, abs=0.005)
    assert workers.expected_speedup(64, 2) == pytest.approx(1.83, abs=0.005)


@pytest.mark.parametrize(
    ("heights", "name", "expected"),
    [
        ({"gateway": 684.0, "bare": 2439.0}, "bare", "2,439/s\ngateway: 0.28x"),
        ({"gateway": 595.0, "proxy": 54.0}, "proxy", "54/s\ngateway: 11x"),
        ({"gateway": 467.0, "httpx": 112.0}, "httpx", "112/s\ngateway: 4.17x"),
        ({"gateway": 467.4, "httpx": 112.0}, "gateway", "467/s"),
        ({"gateway": 1855.0, "proxy": 77.6}, "proxy", "77.6/s\ngateway: 23.9x"),
    ],
)
def test_label_of_a_bar_is_the_ratio_of_the_bars(heights: dict[str, float], name: str, expected: str) -> None:
    """The label of a bar is the ratio of the medians, not the median of the rounds' ratios."""
    assert plot.label(name, heights) == expected


def test_picture_shows_the_data_of_the_run() -> None:
    """The bars of the plot are the medians of the rates, and the labels are their ratios."""
    rates = {"gateway": [100.0, 400.0, 200.0], "bare": [400.0, 400.0, 1600.0]}
    (axes,) = plot.picture({"64 in flight": rates}).axes
    assert [bar.get_height() for bar in axes.containers[0]] == [400, 200]
    assert [text.get_text() for text in axes.texts] == ["400/s\ngateway: 0.5x", "200/s"]


BEFORE = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 10 0 10 70 0 0 0 10 5 5\ncpu1 0 0 0 100 0 0 0 0 0 0\nintr 1 2\n"
AFTER = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 50 0 20 80 0 0 0 50 9 9\ncpu1 100 0 0 197 0 0 0 3 0 0\nintr 1 2\n"


def test_steal_is_the_share_of_each_core_in_between() -> None:
    """Steal time is a share per core between two readings, and guest time is not counted twice."""
    assert CpuTimes.of(AFTER).steal_since(CpuTimes.of(BEFORE)) == "steal 40.0 %, 1.5 % of the cores"


def test_steal_of_this_machine_can_be_read() -> None:
    """/proc/stat of this machine has a line for each core."""
    now = CpuTimes.now()
    assert now.cores
    assert now.steal_since(now).startswith("steal 0.0 %")


def test_cores_are_those_of_the_machine() -> None:
    """All cores of the machine are counted, not only those in the affinity mask of the process."""
    describe = []

    def run() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        describe.append(machine.description())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert f", {os.cpu_count()} cores;" in describe[0]


def test_a_gateway_of_an_older_commit_gets_the_flags_that_it_has(tmp_path: Path) -> None:
    """A flag gets its name in the older commit or is omitted; an unknown name is passed unchanged."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text("#!/bin/sh\necho '[--listen VALUE] [--inputs-queued VALUE]'\n")
    (tmp_path / "bin/python").chmod(0o755)
    start = gateway.Start(Build("old", tmp_path), environment={"HTTP_PROXY": "x"}, tool=["valgrind"])
    given = {"listen": "127.0.0.1:1", "request_limits_inputs": 5, "no_such": 1}
    words = [str(word) for word in start.command(given)]
    assert words[0] == "env"
    assert "HTTP_PROXY=x" in words
    _, _, _, serve, *flags = words[words.index("valgrind") :]
    assert serve == "serve"
    assert dict(zip(flags[::2], flags[1::2], strict=True)) == {
        "--listen": "127.0.0.1:1",
        "--inputs-queued": "4096",
        "--no-such": "1",
    }


def test_decoding_and_its_bound_read_the_same_numbers() -> None:
    """The decoder, simdjson and orjson decode the same numbers."""
    decoding.check(bodies.audio(bodies.TWO_HOURS))


def test_the_bound_of_decoding_waits_for_no_new_memory() -> None:
    """The simdjson baseline causes no page faults, which would dominate its time."""
    reply = bodies.audio(bodies.TWO_HOURS)

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in decoding.least(reply):
            pass
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    faults()
    assert faults() < 100


def test_a_pair_reports_the_median_of_the_ratios_of_its_rounds() -> None:
    """A pair reports the median of the ratios of each round, so that a slow minute affects both sides."""
    paired = Paired("text", "calls/s", this=[100.0, 10.0, 300.0], other=[200.0, 10.0, 200.0])
    assert paired.ratios() == [0.5, 1.0, 1.5]
    assert paired.facts()["ratio"] == 1.0
    assert "1.000  0.750 to 1.250 (3)" in paired.line()


async def test_subjects_that_differ_little_are_restarted_after_two_rounds() -> None:
    """Subjects are restarted after every two rounds: five rounds use three processes of each."""
    started, running = itertools.count(1), set[int]()

    @contextlib.asynccontextmanager
    async def start() -> AsyncGenerator[Subject]:
        number = next(started)
        running.add(number)

        async def burst(seconds: float) -> Sample:
            assert len(running) == 2
            return Sample(number if seconds == 1.0 else 0)

        yield burst
        running.remove(number)

    found = await with_restarts({"one": start, "other": start}, 5, 1.0)
    assert found.rates() == {"one": [1, 1, 3, 3, 5], "other": [2, 2, 4, 4, 6]}
    assert not running


def test_pairs_that_are_measured_by_default_exist() -> None:
    """Every name in DEFAULT is a defined pair."""
    assert set(pairs.DEFAULT) <= set(pairs.ALL)


def test_the_page_lists_every_row() -> None:
    """The table of docs/benchmarks.md has the rows of the benchmark in their order, and which direction is better."""
    page = (DOCS / "benchmarks.md").read_text()
    lines = re.findall(r"^\| (.+?) \| [\d.]+ \| (lower|higher) \|$", page, re.MULTILINE)
    assert lines == [(one.name, "lower" if one.at_most else "higher") for one in BOUNDS]


def test_the_decisions_list_targets_and_goals() -> None:
    """The decisions have the target and the goal of every row; a changed bound needs a new decision."""
    names = "044-benchmark-targets", "050-rows-of-recordings", "051-trace-attributes", "064-request-coalescing"
    records = (DOCS / f"decisions/{name}.md" for name in names)
    text = "".join(record.read_text() for record in records)
    lines = re.findall(r"^\| (.+?) \| ([≤≥]) ([\d.]+) \| [≤≥] ([\d.]+) \|", text, re.MULTILINE)
    assert lines == [(one.name, "≤" if one.at_most else "≥", f"{one.target:g}", f"{one.goal:g}") for one in BOUNDS]


FAST, SMALL = Bound("speed", 2, 3), Bound("memory", 10, 5, at_most=True)
FIGURES = [{"name": "memory", "value": 12.34, "ok": False}, {"name": "speed", "value": 2.5, "ok": True}]
HEAD = "| measurement | result | better |\n|---|---|---|\n"
TABLE = HEAD + "| speed | 2.5 | higher |\n| memory | 12.3 | lower |\n"


def test_table_has_the_measured_figures() -> None:
    """The table has the figures in row order, and the text around it is unchanged."""
    assert docs.table([FAST, SMALL], FIGURES) == TABLE
    assert docs.replaced(f"before\n\n{HEAD}| speed | 1 | higher |\n\nafter", TABLE) == f"before\n\n{TABLE}\nafter"


@pytest.mark.parametrize(("number", "expected"), [(0.49549, "0.495"), (0.49551, "0.496"), (0.7544, "0.754")])
def test_table_and_report_round_a_figure_once(number: float, expected: str) -> None:
    """The table and the report show the same digits."""
    facts = json.loads(json.dumps(report.facts(Figure(SMALL, [number]))))
    assert report.digits(number) == expected
    assert docs.table([SMALL], [facts]) == f"{HEAD}| memory | {expected} | lower |\n"


def test_the_page_is_not_changed_if_the_picture_cannot_be_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither file is written if the plot cannot be: here a directory has its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "build").mkdir()
    (tmp_path / "docs/bench.png").mkdir(parents=True)
    figures = [{"name": bound.name, "value": 1.0, "ok": True} for bound in BOUNDS]
    data = {"figures": figures, "panels": {"64 in flight": {"gateway": [1.0]}}}
    (tmp_path / "build/bench.json").write_text(json.dumps(data))
    page = tmp_path / "docs/benchmarks.md"
    page.write_text(f"{HEAD}| speed | 1 | higher |\n")
    with pytest.raises(IsADirectoryError):
        docs.main()
    assert page.read_text() == f"{HEAD}| speed | 1 | higher |\n"


@pytest.mark.parametrize("figures", [FIGURES[:1], [*FIGURES[:1], {"name": "speed", "value": None, "ok": False}]])
def test_table_of_some_rows_is_refused(figures: list[dict[str, object]]) -> None:
    """A table with figures of different runs is refused."""
    with pytest.raises(ValueError, match="not measured: speed"):
        docs.table([FAST, SMALL], figures)


def test_document_without_a_table_is_refused() -> None:
    """A document without a table raises instead of being left unchanged."""
    with pytest.raises(ValueError, match="0 tables"):
        docs.replaced("no table", TABLE)


def test_one_benchmark_runs_at_a_time() -> None:
    """A second benchmark on the same machine fails, also from another checkout, until the first has ended."""
    name = f"embedwire-test-{os.getpid()}"
    with alone(name), pytest.raises(RuntimeError, match="another benchmark"), alone(name):
        pass
    with alone(name):
        pass


@contextlib.asynccontextmanager
async def proxy() -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter, int]]:
    """Return a connection to the proxy and the port of an echo server."""
    echoes: list[asyncio.Task[object]] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        echoes.append(task)
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()
        await writer.wait_closed()

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(relay.ProxySide, "127.0.0.1", 0)
    async with listener, await asyncio.start_server(echo, "127.0.0.1", 0) as upstream:
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        try:
            yield reader, writer, upstream.sockets[0].getsockname()[1]
        finally:
            writer.close()
            await writer.wait_closed()
            await asyncio.gather(*echoes)


async def test_proxy_opens_a_tunnel(capsys: pytest.CaptureFixture[str]) -> None:
    """After CONNECT, bytes pass both ways unchanged, also those sent with the head, and the proxy prints a line."""
    async with proxy() as (reader, writer, port):
        writer.write(f"CONNECT {relay.HOST}:{port} HTTP/1.1\r\nhost: x\r\n\r\nfirst".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
        assert await reader.readexactly(5) == b"first"
        writer.write(bytes(1_000_000))
        assert await reader.readexactly(1_000_000) == bytes(1_000_000)
        assert capsys.readouterr().out == f"CONNECT {relay.HOST}:{port}\n"


async def test_proxy_forwards_the_absolute_form(capsys: pytest.CaptureFixture[str]) -> None:
    """A request in absolute form is forwarded unchanged, also if its head arrives in two pieces."""
    async with proxy() as (reader, writer, port):
        request = f"POST http://{relay.HOST}:{port}/embed HTTP/1.1\r\nhost: x\r\n\r\nbody".encode()
        writer.write(request[:30])
        await writer.drain()
        writer.write(request[30:])
        assert await reader.readexactly(len(request)) == request
        assert capsys.readouterr().out == f"POST http://{relay.HOST}:{port}/embed\n"


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/embed", "http://other.test:{port}/", "/embed"])
async def test_proxy_refuses_other_hosts(target: str) -> None:
    """The proxy connects only to the host name that no name server resolves."""
    async with proxy() as (reader, writer, port):
        writer.write(f"POST {target.format(port=port)} HTTP/1.1\r\n\r\n".encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(
    ("upstream", "line", "expected"),
    [
        ("http://upstream.test:20000", "POST http://upstream.test:20000/embed", 2),
        ("https://upstream.test:20000", "CONNECT upstream.test:20000", 2),
        ("http://upstream.test:20000", "CONNECT upstream.test:20000", 0),
        ("http://upstream.test:20000", "POST http://upstream.test:20001/embed", 0),
    ],
)
def test_connections_of_the_proxy_are_counted_by_form_and_port(
    tmp_path: Path, upstream: str, line: str, expected: int
) -> None:
    """Connections are counted by form and port, so that a row counts those of its own gateway."""
    log = tmp_path / "proxy.log"
    log.write_text(f"{line}\n{line}\n")
    assert connections.count(log, upstream) == expected
