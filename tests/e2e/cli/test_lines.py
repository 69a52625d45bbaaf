"""`embedwire embed --text - --lines`: one text for each line of standard input."""

import asyncio
import itertools
from pathlib import Path

import numpy as np
import pytest

from embedwire import AsyncClient, Text
from tests.e2e.cli.running import COMMAND, PIPE, environment, run, start
from tests.support.ports import NO_SERVER
from tests.support.serving import Served

LINES = ("embed", "--text", "-", "--lines")
JSON = ("--format", "json")


async def test_each_line_is_an_input(served: Served) -> None:
    """Lines end in LF or CRLF, or with the input; a byte order mark is removed, blank lines are skipped with a note."""
    stdin = "\ufeffa red fox\r\n\n - \n  \n-\nzwölf Boxkämpfer".encode()
    ended = await run(served.app.target, *LINES, *JSON, stdin=stdin)
    texts = ["a red fox", " - ", "-", "zwölf Boxkämpfer"]
    async with AsyncClient(served.app.target) as client:
        expected = await client.embed("marengo3.0", [Text(text) for text in texts])
    segments = {line["input_index"]: line for line in ended.lines if line["type"] == "segment"}

    assert ended.code == 0
    assert [segments[index]["input_key"] for index in range(4)] == texts
    assert [segments[index]["vector"]["values"] for index in range(4)] == [each.vector.tolist() for each in expected]
    assert ended.err == "note: 2 blank lines were skipped, the first is line 2\n"


async def test_more_lines_than_one_call_takes(served: Served, tmp_path: Path) -> None:
    """1,000 lines in several calls: a row for each in the table, and rows in the order of the lines in the array."""
    stdin = "".join(f"text {number}\n" for number in range(1000)).encode()
    table, array = await asyncio.gather(
        run(served.app.target, *LINES, stdin=stdin),
        run(served.app.target, *LINES, "--format", "npy", "--output", tmp_path / "a.npy", stdin=stdin),
    )
    async with AsyncClient(served.app.target) as client:
        last = await client.embed("marengo3.0", Text("text 999"))
    vectors = np.load(tmp_path / "a.npy")

    assert (table.code, array.code, table.err) == (0, 0, "")
    assert table.out.count("done: ") == 1000
    assert array.err == "inputs 0-999: rows 0-999\n"
    assert vectors.shape == (1000, 512)
    assert vectors[999].tolist() == last.vector.tolist()


async def test_a_line_that_is_not_utf_8_fails_alone(served: Served) -> None:
    """The input of the line fails, is reported once, and the others are embedded."""
    ended = await run(served.app.target, *LINES, stdin=b"good\n\ncaf\xe9\nbetter\n")

    assert ended.code == 1
    assert ended.out.count("done: ") == 2
    assert ended.err.startswith('error: input 1, line 3, "caf\ufffd": INVALID_REQUEST: the line is not UTF-8\n')
    assert ended.err.count("UTF-8") == 1


@pytest.mark.parametrize("words", [(), JSON, ("--format", "npy")], ids=["table", "json", "npy"])
async def test_no_lines(served: Served, words: tuple[str, ...]) -> None:
    """Without any text in standard input the command is a usage error, in every format."""
    for stdin in (b"", b"\n  \n"):
        ended = await run(served.app.target, *LINES, *words, stdin=stdin)
        assert (ended.code, ended.out) == (2, "")
        assert "--lines: standard input has no text: nothing to embed" in ended.usage


async def test_an_unknown_model_is_reported_once(served: Served) -> None:
    """An unknown model is one error, and not one for each line."""
    ended = await run(served.app.target, *LINES, "--model", "none", stdin=b"a\nb\n")

    assert (ended.code, ended.out) == (1, "")
    names = "marengo3.0, marengo3.5, Marengo-retrieval-2.7"
    assert ended.err == f"error: INVALID_REQUEST: model_name: must be one of: {names}\n"


async def test_results_arrive_while_lines_are_written(served: Served) -> None:
    """The result of a line is written before the next line is; the end of the lines ends the command."""
    process = await start(served.app.target, *LINES, *JSON, stdin=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for text in (b"first", b"second"):
        process.stdin.write(text + b"\n")
        assert b'"type": "segment"' in await process.stdout.readline()
        assert text in await process.stdout.readline()
    process.stdin.close()
    assert await process.wait() == 0


async def test_lines_without_end(served: Served) -> None:
    """Lines are read as they are needed: if the reader of the output ends, so does a command whose lines never end."""
    script = 'yes | "$@" | head -n 600 | wc -l; exit ${PIPESTATUS[1]}'
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", script, "bash", *COMMAND, *LINES, *JSON),
        env=environment(served.app.target),
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()

    assert (process.returncode, out.strip(), err) == (141, b"600", b"")


@pytest.mark.parametrize(
    "words",
    [("--text", "a"), ("--image", "-"), ("--text", "-", "--text", "a"), ("--text", "-", "--image", "a.png"), ()],
    ids=" ".join,
)
async def test_lines_need_standard_input_as_the_only_input(words: tuple[str, ...]) -> None:
    """--lines with anything but --text - is a usage error."""
    ended = await run("", "embed", *words, "--lines")

    assert (ended.code, ended.out) == (2, "")
    assert "--lines: needs --text - as the only input" in ended.usage


async def test_standard_input_that_cannot_be_used(served: Served) -> None:
    """A line above 1 MiB ends the command after the lines before it; the error names the line or the cause."""
    long = await run(served.app.target, *LINES, stdin=b"short\n\n" + bytes(itertools.repeat(97, 1 << 20)) + b"\n")
    scripts = {"0>/dev/null": "stdin: Bad file descriptor", "<&-": "stdin: Bad file descriptor"}
    for script, said in scripts.items():
        command = " ".join((*COMMAND, *LINES, script))
        process = await asyncio.create_subprocess_shell(command, env=environment(served.app.target), stderr=PIPE)
        _, err = await process.communicate()
        assert (process.returncode, said in err.decode()) == (2, True), err.decode()

    assert long.code == 2
    assert 'done: "short"' in long.out
    assert "--lines: line 3 is longer than 1048576 bytes" in long.usage


async def test_a_server_that_cannot_be_reached_is_reported_once() -> None:
    """Without a server the command ends with one error, and not with one for each line."""
    ended = await run(NO_SERVER, *LINES, stdin=b"a\nb\nc\n")

    assert (ended.code, ended.out) == (3, "")
    assert ended.err.count("error: UNAVAILABLE: ") == 1
