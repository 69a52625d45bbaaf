"""Progress is shown on a terminal, below the rows, and not in pipes."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.e2e.cli.running import COMMAND, ESCAPE, PIPE, SAMPLES, Terminal, environment, run, run_on_terminal, start
from tests.support import media
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply


async def test_progress_on_a_terminal(scripted: Scripted, tmp_path: Path) -> None:
    """First the upload and the wait are shown, then the count; at the end only the rows are left, in 80 columns."""
    go_on, large = asyncio.Event(), tmp_path / "large.wav"
    large.write_bytes(media.wav(100))

    async def hold(visit: Visit) -> None:
        whole = json.dumps(reply("audio_embedding", segments=3)).encode()
        at = whole.index(b"}, {")
        await visit.head(length=len(whole))
        await visit.send(whole[: at + 3])
        await go_on.wait()
        await visit.send(whole[at + 3 :])

    async with scripted(hold) as (served, _):
        with Terminal.open() as terminal:
            both = {"stdout": terminal.theirs, "stderr": terminal.theirs}
            process = await start(served.app.target, "embed", "--audio", large, **both)
            terminal.close_theirs()
            await terminal.read_until("waiting for the answer")
            await terminal.read_until("receiving: segments: 1, 0 of 1 inputs done")
            uploading = terminal.written.index("uploading")
            go_on.set()
            await terminal.read_until(None)
            assert await process.wait() == 0

    assert uploading < terminal.written.index("receiving")
    assert "MB" in terminal.written
    rows = terminal.screen
    assert len(rows) == 5
    assert max(map(len, rows)) <= 80
    assert not any("receiving" in row or "uploading" in row or "waiting" in row for row in rows)
    assert rows[-1] == "    0  done: large.wav, 3 segments from custom"


async def test_progress_is_never_written_to_a_pipe(served: Served) -> None:
    """With stdout in a pipe it is on stderr if that is a terminal; with stderr in a pipe it is not shown."""
    words = ("embed", "--format", "json", "--text", "a", "--audio", SAMPLES / "melody.flac")
    with Terminal.open() as terminal:
        process = await start(served.app.target, *words, stderr=terminal.theirs)
        terminal.close_theirs()
        out, _ = await process.communicate()
        await terminal.read_until(None)
    with Terminal.open() as other:
        silent = await start(served.app.target, *words, stdout=other.theirs)
        other.close_theirs()
        await other.read_until(None)
        _, err = await silent.communicate()
    forced = await run(served.app.target, *words, FORCE_COLOR="1", TTY_COMPATIBLE="1")

    assert "waiting for the answer" in terminal.written
    assert "receiving" not in terminal.written  # removed before the other program writes
    assert terminal.screen == []
    assert [json.loads(line)["type"] for line in out.decode().splitlines()].count("result") == 2
    assert ESCAPE not in out.decode()
    assert err == b""
    assert "waiting" not in other.written + forced.err
    assert len(forced.lines) == 11


@pytest.mark.parametrize("columns", [80, 120])
async def test_an_error_on_a_terminal_is_printed_once_and_wrapped_between_words(served: Served, columns: int) -> None:
    """The row of the failed input has no reason; the error has it, in the width of the terminal."""
    words = ("embed", "--text", "a", "--image", SAMPLES / "text.txt")
    code, terminal = await run_on_terminal(served.app.target, *words, columns=columns)
    whole = await run(served.app.target, *words)
    shown = next(line for line in whole.err.splitlines() if line.startswith("error: "))
    start = next(index for index, row in enumerate(terminal.screen) if row.startswith("error: "))
    end = next(index for index, row in enumerate(terminal.screen) if row.startswith("  upstream: "))

    assert (code, whole.code) == (1, 1)
    assert max(map(len, terminal.screen)) <= columns
    assert "    1  failed: text.txt" in terminal.screen
    assert "\n".join(terminal.screen).count("INPUT_REJECTED") == 1
    assert " ".join(" ".join(terminal.screen[start:end]).split()) == shown
    assert end - start > 1
    assert all(row.startswith("       ") for row in terminal.screen[start + 1 : end])


async def test_json_lines_on_a_terminal_are_not_wrapped(served: Served) -> None:
    """Each line is written unchanged, whatever its length; progress does not interrupt it."""
    code, terminal = await run_on_terminal(served.app.target, "embed", "--format", "json", "--text", "a")
    lines = [json.loads(line) for line in terminal.screen]

    assert code == 0
    assert [line["type"] for line in lines] == ["segment", "result"]
    assert len(lines[0]["vector"]["values"]) == 512


async def test_a_dumb_terminal_gets_plain_rows(served: Served) -> None:
    """With TERM=dumb there are no escape sequences."""
    with Terminal.open() as terminal:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            "embed",
            "--text",
            "a\x1b[31m\nb",
            env=environment(served.app.target, TERM="dumb"),
            stdin=PIPE,
            stdout=terminal.theirs,
            stderr=terminal.theirs,
        )
        terminal.close_theirs()
        await terminal.read_until(None)
        assert await process.wait() == 0

    assert ESCAPE not in terminal.written
    assert '"a\ufffd[31m b"' in terminal.written
