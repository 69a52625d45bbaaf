"""Progress and summary of `embedwire batch`, on a terminal and as JSON lines."""

import asyncio
import json
import os
from pathlib import Path

from tests.e2e.cli.batching import keys, write_texts
from tests.e2e.cli.running import ESCAPE, Terminal, run, run_on_terminal, start
from tests.support.ports import held_port
from tests.support.process import ServerProcess
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply

TEXTS = [f"text number {number}" for number in range(100)]


async def test_progress_on_a_terminal(scripted: Scripted, tmp_path: Path) -> None:
    """Bar and counts are shown in 80 columns while the batch runs; at the end only the summary is left."""
    go_on = asyncio.Event()

    async def most(visit: Visit) -> None:
        if any(b"number %d" % number in visit.body for number in range(95, 100)):
            await go_on.wait()
        await visit.answer(reply())

    words = ("batch", write_texts(tmp_path / "in.jsonl", TEXTS), "--output", "out", "--inputs-per-call", "1")
    async with scripted(most) as (served, _):
        with Terminal.open() as terminal:
            both = {"stdout": terminal.theirs, "stderr": terminal.theirs, "cwd": tmp_path}
            process = await start(served.app.target, *words, **both)
            terminal.close_theirs()
            await terminal.read_until("95 of 100")
            shown = terminal.screen
            go_on.set()
            await terminal.read_until(None)
            assert await process.wait() == 0

    assert max(map(len, shown)) <= 80
    assert "━" in shown[0]
    assert "retries 0" in shown[1]
    assert terminal.screen[0].startswith("embedded         100 inputs, 100 vectors, in ")
    assert terminal.screen[1:] == ["vectors          out/embeddings, 1 file"]


async def test_an_outage_is_shown_with_the_next_attempt(tmp_path: Path) -> None:
    """While the server is down, the terminal states it and the next attempt; the batch continues when it is back."""
    texts = [f"text number {number}" for number in range(2000)]
    words = ("batch", write_texts(tmp_path / "in.jsonl", texts), "--output", tmp_path / "out", "--inputs-per-call", "1")
    with held_port() as port, Terminal.open() as terminal:
        async with ServerProcess.running(listen=f"127.0.0.1:{port}") as server:
            both = {"stdout": terminal.theirs, "stderr": terminal.theirs}
            process = await start(server.target, *words, **both)
            terminal.close_theirs()
            await terminal.read_until(" of 2,000")
            server.process.kill()
            await terminal.read_until("The server is unreachable: next attempt in ")
            shown = terminal.screen
        async with ServerProcess.running(listen=f"127.0.0.1:{port}"):
            await terminal.read_until(None)
            assert await process.wait() == 0

    assert max(map(len, shown)) <= 80
    assert len(keys(tmp_path / "out")) == len(texts)


async def test_progress_without_a_terminal_is_json_lines(served: Served, tmp_path: Path) -> None:
    """A first and a last line, without escape sequences, and the summary on stdout."""
    ended = await run(served.app.target, "batch", write_texts(tmp_path / "in.jsonl", TEXTS), "--output", tmp_path / "o")
    lines = [json.loads(line) for line in ended.err.splitlines()]

    assert (ended.code, [line["event"] for line in lines]) == (0, ["start", "end"])
    assert lines[0]["embedded"] == 0
    assert (lines[1]["embedded"], lines[1]["segments"], lines[1]["failed"], lines[1]["total"]) == (100, 100, 0, 100)
    assert ended.out.startswith("embedded         100 inputs, 100 vectors")
    assert ESCAPE not in ended.out


async def test_the_interval_of_json_lines(scripted: Scripted, tmp_path: Path) -> None:
    """With --progress-interval a line is written in each interval, while nothing happens as well."""
    go_on = asyncio.Event()

    async def hold(visit: Visit) -> None:
        await go_on.wait()
        await visit.answer(reply())

    words = ("batch", write_texts(tmp_path / "in.jsonl"), "--output", tmp_path / "out", "--progress-interval", "1s")
    async with scripted(hold) as (served, _):
        process = await start(served.app.target, *words)
        assert process.stderr is not None
        lines = [json.loads(await process.stderr.readline()) for _ in range(4)]
        go_on.set()
        await process.communicate()

    assert [line["event"] for line in lines] == ["start", "progress", "progress", "progress"]
    assert 2.5 < lines[3]["seconds"] - lines[0]["seconds"] < 60


async def test_a_reader_that_does_not_read_stderr_delays_nothing(served: Served, tmp_path: Path) -> None:
    """If the pipe of stderr is full, lines of progress are dropped and the batch ends."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(1 << 16))
    except BlockingIOError:
        os.set_blocking(writer, True)
    words = ("batch", write_texts(tmp_path / "in.jsonl"), "--output", tmp_path / "out")
    process = await start(served.app.target, *words, stderr=writer)
    out, _ = await process.communicate()
    os.close(writer)
    os.close(reader)

    assert process.returncode == 0
    assert b"embedded         3 inputs" in out


async def test_a_dumb_terminal_gets_json_lines(served: Served, tmp_path: Path) -> None:
    """With TERM=dumb there is no bar: the progress is JSON lines."""
    code, terminal = await run_on_terminal(
        served.app.target, "batch", write_texts(tmp_path / "in.jsonl"), "--output", tmp_path / "out", TERM="dumb"
    )
    assert code == 0
    assert ESCAPE not in terminal.written
    assert '{"event": "end", ' in terminal.written
