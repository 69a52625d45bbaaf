"""`embedwire embed`: inputs, rows and lines."""

import asyncio
import contextlib
import functools
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from embedwire import AsyncClient, Audio, Image, Text
from tests.e2e.cli.running import ESCAPE, SAMPLES, run, run_on_terminal, start
from tests.support import media
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply

TEXT = "a red fox in the snow"


@contextlib.contextmanager
def files_served(directory: Path) -> Iterator[str]:
    """A web server for these files, on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=directory)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


async def test_the_table_fits_any_width(served: Served) -> None:
    """Rows fit 60, 80 and 200 columns, in the order of their input, and each input ends with one result line."""
    words = ("embed", "--text", TEXT, "--audio", SAMPLES / "melody.flac", "--image", SAMPLES / "picture.png")
    widths = (60, 80, 200)
    ended = await asyncio.gather(*(run_on_terminal(served.app.target, *words, columns=width) for width in widths))

    for width, (code, terminal) in zip(widths, ended, strict=True):
        rows = terminal.screen
        assert code == 0
        assert max(map(len, rows)) <= width
        assert len(rows) == 1 + 10 + 3
        assert rows[0].split()[:6] == ["input", "name", "seg", "seconds", "option", "dims"]
        assert sum(row.split()[0] == "1" for row in rows) == 9
        assert sum("done: " in row for row in rows) == 3
        assert any("18.0 - 20.0" in row and "512" in row and "…" in row for row in rows)
    assert f'0  done: "{TEXT}", 1 segment from sandbox' in "\n".join(ended[1][1].screen)


async def test_json_lines_equal_the_clients_events(served: Served) -> None:
    """Each event is one object with the contract's field names, the complete vector, and the value as the key."""
    melody = SAMPLES / "melody.flac"
    ended = await run(served.app.target, "embed", "--format", "json", "--text", TEXT, "--audio", melody)
    async with AsyncClient(served.app.target) as client:
        expected = await client.embed("marengo3.0", [Text(TEXT), Audio(path=melody)])
    segments = [line for line in ended.lines if line["type"] == "segment"]
    results = {line["input_index"]: line for line in ended.lines if line["type"] == "result"}
    audio = [line for line in segments if line["input_index"] == 1]

    assert (ended.code, ended.err) == (0, "")
    assert [line["vector"]["values"] for line in audio] == [each.vector.tolist() for each in expected[1].segments]
    assert audio[2]["audio"] == {
        "start_offset_sec": 6.0,
        "end_offset_sec": 12.0,
        "embedding_option": "audio",
        "embedding_scope": expected[1].segments[2].embedding_scope,
    }
    assert audio[2]["vector"]["dimensions"] == 512
    assert [line["segment_index"] for line in audio] == list(range(8))
    assert next(line for line in segments if line["input_index"] == 0)["text"] == {}
    assert (results[0]["input_key"], results[1]["input_key"]) == (TEXT, str(melody))
    assert results[1]["metadata"] == {"input_filename": "melody.flac"}
    assert (results[1]["segment_count"], results[1]["failure"], results[1]["upstream"]) == (8, None, "sandbox")


async def test_lines_come_while_the_call_runs(scripted: Scripted) -> None:
    """A segment is written and flushed when it arrives, while the rest of the answer is pending."""
    go_on = asyncio.Event()

    async def half(visit: Visit) -> None:
        whole = json.dumps(reply("audio_embedding", segments=2)).encode()
        at = whole.index(b"}, {")
        await visit.head(length=len(whole))
        await visit.send(whole[: at + 3])
        await go_on.wait()
        await visit.send(whole[at + 3 :])

    async with scripted(half) as (served, _):
        for form in ("json", "table"):
            go_on.clear()
            words = ("embed", "--audio", SAMPLES / "melody.flac", "--format", form)
            process = await start(served.app.target, *words)
            assert process.stdout is not None
            first = (await process.stdout.readline()).decode()
            if form == "table":
                first = (await process.stdout.readline()).decode()
            assert process.returncode is None
            assert "audio" in first
            assert not go_on.is_set()
            go_on.set()
            rest, _ = await process.communicate()
            assert len(rest.splitlines()) == 2
            assert process.returncode == 0


async def test_stdin_is_a_text_an_image_or_audio(served: Served) -> None:
    """`-` reads standard input, a text without its last newline; binary input gives the same result as the file."""
    picture = (SAMPLES / "picture.png").read_bytes()
    text, image, audio, broken, twice = await asyncio.gather(
        run(served.app.target, "embed", "--format", "json", "--text", "-", stdin=f"{TEXT}\n".encode()),
        run(served.app.target, "embed", "--format", "json", "--image", "-", stdin=picture),
        run(served.app.target, "embed", "--format", "json", "--audio", "-", stdin=media.mp3(7)),
        run(served.app.target, "embed", "--text", "-", stdin=b"\xff"),
        run(served.app.target, "embed", "--text", "-", "--image", "-"),
    )
    async with AsyncClient(served.app.target) as client:
        expected = await client.embed("marengo3.0", [Text(TEXT), Image(data=picture)])

    assert text.lines[0]["vector"]["values"] == expected[0].vector.tolist()
    assert image.lines[0]["vector"]["values"] == expected[1].vector.tolist()
    assert (audio.code, audio.lines[-1]["segment_count"]) == (0, 4)
    assert (broken.code, twice.code) == (2, 2)
    assert "--text: the text is not UTF-8" in broken.usage
    assert "--image: standard input can be read only once" in twice.usage


async def test_a_url_is_fetched_by_the_upstream(served: Served) -> None:
    """An argument with http:// is fetched by the upstream, from an offset if one is given."""
    with files_served(SAMPLES) as url:
        words = ("--format", "json", "--audio", f"{url}/melody.flac", "--start-offset", "14")
        ended = await run(served.app.target, "embed", *words, "--image", f"{url}/picture.png")
    starts = {line["audio"]["start_offset_sec"] for line in ended.lines if "audio" in line}

    assert ended.code == 0
    assert min(starts) == 14
    assert {line["metadata"]["input_url"] for line in ended.lines if line["type"] == "result"} == {
        f"{url}/melody.flac",
        f"{url}/picture.png",
    }


async def test_a_failed_input_does_not_affect_the_others(scripted: Scripted) -> None:
    """Its segments are declared invalid and its reason is on stderr only; the other inputs are completed."""

    async def script(visit: Visit) -> None:
        if b"audio_file" in visit.body:
            whole = json.dumps(reply("audio_embedding", segments=3)).encode()
            await visit.head(length=len(whole))
            await visit.send(whole[: whole.rindex(b"{")])
            visit.writer.close()
        elif b"wrong" in visit.body:
            await visit.answer({"code": "parameter_invalid", "message": "no [bold]such[/] thing"}, 400)
        else:
            await visit.answer(reply())

    words = ("embed", "--text", "good", "--text", "wrong", "--audio", SAMPLES / "melody.flac")
    async with scripted(script) as (served, _):
        table, lines = await asyncio.gather(
            run(served.app.target, *words), run(served.app.target, *words, "--format", "json")
        )
    failures = {line["input_index"]: line["failure"] for line in lines.lines if line["type"] == "result"}

    assert (table.code, lines.code) == (1, 1)
    assert '    0  done: "good", 1 segment' in table.out
    assert '    1  failed: "wrong"\n' in table.out
    assert "    2  failed: melody.flac (its segments above are invalid)\n" in table.out
    assert f"error: input 2, {SAMPLES / 'melody.flac'}: UPSTREAM_" in table.err
    assert (table.out + table.err).count("thing") == 1
    assert 'error: input 1, "wrong": INPUT_REJECTED: inputs[1].text: no [bold]such[/] thing\n' in table.err
    assert "  upstream: HTTP status 400, parameter_invalid\n  request id: " in table.err.replace(
        "  see: https://docs.twelvelabs.io/api-reference/error-codes\n", ""
    )
    assert failures[0] is None
    assert (failures[1]["code"], failures[1]["reason"]) == ("INVALID_ARGUMENT", "INPUT_REJECTED")
    assert failures[1]["upstream_error"]["http_status"] == 400
    assert failures[1]["cause"] == ""


async def test_every_input_ends_with_one_result_line_also_when_the_call_fails(served: Served) -> None:
    """A rejected request gives each of its inputs a result with the failure, and lists all violations."""
    ended = await run(served.app.target, "embed", "--format", "json", "--text", "", "--text", "b", "--model", "none")

    assert ended.code == 1
    assert [(line["type"], line["input_index"]) for line in ended.lines] == [("result", index) for index in range(2)]
    assert {violation["field"] for violation in ended.lines[1]["failure"]["field_violations"]} == {
        "inputs[0].text.value",
        "model_name",
    }
    assert "\n  inputs[0].text.value: " in ended.err


async def test_an_input_that_the_server_rejects_fails_alone(served: Served, tmp_path: Path) -> None:
    """An empty file, an empty text and a text that is too long fail under their names; the others are embedded."""
    empty, large = tmp_path / "empty.png", tmp_path / "large.wav"
    empty.touch()
    large.write_bytes(media.wav(40))  # uploaded
    words = ("--text", "", "--image", empty, SAMPLES / "picture.png", "--audio", large, "--text", "a" * 70_000)
    table, lines, array, alone = await asyncio.gather(
        run(served.app.target, "embed", *words),
        run(served.app.target, "embed", *words, "--format", "json"),
        run(served.app.target, "embed", *words, "--format", "npy"),
        run(served.app.target, "embed", "--image", empty),
    )
    failures = {line["input_index"]: line["failure"] for line in lines.lines if line["type"] == "result"}

    assert [each.code for each in (table, lines, array, alone)] == [1] * 4
    assert {index for index, failure in failures.items() if failure} == {0, 1, 4}
    assert [failures[index]["field_violations"][0]["field"] for index in (1, 4)] == [
        "inputs[1].image.source.file.data",
        "inputs[4].text.value",
    ]
    assert (table.out.count("done: "), table.out.count("failed: ")) == (2, 3)
    assert 'error: input 0, "": INVALID_REQUEST: inputs[0].text.value: must not be empty\n' in table.err
    assert f"error: input 1, {empty}: INVALID_REQUEST: inputs[1].image.source." in table.err
    assert "inputs[4].text.value: at most 65536 bytes" in table.err
    assert "input 2, picture.png: row 0\ninput 3, large.wav: rows 1-" in array.err
    assert alone.err.startswith(f"error: {empty}: INVALID_REQUEST: ")


async def test_a_pipe_is_not_sent_again(served: Served) -> None:
    """If the server rejects a call because of another input, an input that can be read only once fails as well."""
    picture = (SAMPLES / "picture.png").read_bytes()
    ended = await run(served.app.target, "embed", "--text", "", "--image", "-", "--text", "b", stdin=picture)

    assert ended.code == 1
    assert 'done: "b"' in ended.out
    assert ended.err.count("error: ") == 2
    assert "error: input 1, stdin: INVALID_REQUEST: inputs[1]: its content could be read only once" in ended.err


async def test_output_to_a_file(served: Served, tmp_path: Path) -> None:
    """`--output` takes the rows or lines; files and pipes get no terminal escape sequences."""
    rows, lines, nowhere = tmp_path / "rows.txt", tmp_path / "lines.json", tmp_path / "no" / "where"
    ended = await asyncio.gather(
        run(served.app.target, "embed", "--text", TEXT, "--output", rows),
        run(served.app.target, "embed", "--text", TEXT, "--output", lines, "--format", "json"),
        run(served.app.target, "embed", "--text", TEXT, "--output", nowhere),
    )

    assert [each.code for each in ended] == [0, 0, 2]
    assert [each.out for each in ended] == ["", "", ""]
    assert "--output" in ended[2].usage
    assert rows.read_text().count("\n") == 3
    assert ESCAPE not in rows.read_text()
    assert [json.loads(line)["type"] for line in lines.read_text().splitlines()] == ["segment", "result"]


async def test_large_files_and_pipes_are_uploaded_under_their_names(served: Served, tmp_path: Path) -> None:
    """A file above 1 MiB keeps its name; a pipe is uploaded as well; a name need not be UTF-8."""
    large, fifo = tmp_path / "large.wav", tmp_path / "fifo.wav"
    large.write_bytes(media.wav(40))
    latin = tmp_path / os.fsdecode(b"caf\xe9.png")
    latin.write_bytes((SAMPLES / "picture.png").read_bytes())
    ended = await run(served.app.target, "embed", "--format", "json", "--image", latin, "--audio", large)
    metadata = {line["input_index"]: line["metadata"] for line in ended.lines if line["type"] == "result"}
    os.mkfifo(fifo)
    process = await start(served.app.target, "embed", "--format", "json", "--audio", fifo)
    await asyncio.to_thread(fifo.write_bytes, media.wav(7))
    out, _ = await process.communicate()

    assert ended.code == 0
    assert metadata == {0: {"input_filename": "caf?.png"}, 1: {"input_filename": "large.wav"}}
    assert process.returncode == 0
    assert json.loads(out.splitlines()[-1])["metadata"] == {"input_filename": "fifo.wav"}
