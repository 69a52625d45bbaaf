"""`embedwire batch` that is stopped by a signal, and resumed."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.e2e.cli.batching import keys, write_texts
from tests.e2e.cli.running import Terminal, run, start
from tests.support.serving import Scripted, until
from tests.support.upstreams import Visit, reply

TEXTS = [f"text number {number}" for number in range(40)]
FEW = ("--inputs-per-call", "2", "--concurrent-calls", "2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_saves_what_runs(scripted: Scripted, tmp_path: Path, number: signal.Signals) -> None:
    """The first signal ends reading; the running calls are saved, and nothing is sent twice after a resume."""
    go_on = asyncio.Event()

    async def hold(visit: Visit) -> None:
        await go_on.wait()
        await visit.answer(reply())

    words = ("batch", write_texts(tmp_path / "in.jsonl", TEXTS), "--output", tmp_path / "out", *FEW)
    async with scripted(hold) as (served, upstream):
        process = await start(served.app.target, *words)
        await until(lambda: len(upstream.visits) >= 2)
        process.send_signal(number)
        assert process.stderr is not None
        lines = [await process.stderr.readline()]
        while b'"event": "stopping"' not in lines[-1]:
            lines += [await process.stderr.readline()]
        go_on.set()
        out, _ = await process.communicate()
        saved, sent = keys(tmp_path / "out"), len(upstream.visits)
        resumed = await run(served.app.target, *words)

    assert process.returncode == 128 + number
    assert "not complete     run the same command again" in out.decode()
    assert len(saved) == sent < len(TEXTS)
    assert resumed.code == 0, resumed.err
    assert f"complete before  {sent} inputs" in resumed.out
    assert len(upstream.visits) == len(TEXTS)
    assert keys(tmp_path / "out") == {f"t{index}": 1 for index in range(len(TEXTS))}


async def test_a_second_signal_ends_immediately(scripted: Scripted, tmp_path: Path) -> None:
    """The second Ctrl-C ends the command although calls are running; the output can be resumed."""
    is_held = True

    async def hold(visit: Visit) -> None:
        if is_held and b"number 39" in visit.body:
            await visit.gone()
        else:
            await visit.answer(reply())

    words = ("batch", write_texts(tmp_path / "in.jsonl", TEXTS), "--output", tmp_path / "out", "--inputs-per-call", "1")
    async with scripted(hold) as (served, upstream):
        with Terminal.open() as terminal:
            process = await start(served.app.target, *words, stdout=terminal.theirs, stderr=terminal.theirs)
            terminal.close_theirs()
            await until(lambda: len(upstream.visits) == len(TEXTS))
            process.send_signal(signal.SIGINT)
            await terminal.read_until("A second Ctrl-C ends immediately")
            process.send_signal(signal.SIGINT)
            await terminal.read_until(None)
            code = await process.wait()
        is_held = False
        resumed = await run(served.app.target, *words)

    assert (code, resumed.code) == (130, 0), resumed.err
    assert terminal.screen[-1] == "ended; what was saved is safe: the same command again resumes"
    assert terminal.written.count("\x1b[?25h") == 1  # the cursor is shown again
    assert "Traceback" not in terminal.written
    assert keys(tmp_path / "out") == {f"t{index}": 1 for index in range(len(TEXTS))}
