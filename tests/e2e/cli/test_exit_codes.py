"""Exit codes of the command, and their messages."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from embedwire.v1 import embedding_pb2 as pb
from embedwire.v1 import embedding_pb2_grpc
from tests.e2e.cli.running import COMMAND, PIPE, SAMPLES, Terminal, environment, run, start
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply


async def by_text(visit: Visit) -> None:
    """Answer with the status named by the text."""
    status = next((number for number in (400, 401, 409, 429, 503) if b"status %d" % number in visit.body), 200)
    if b"nonsense" in visit.body:
        await visit.answer(b"<html>")
    elif status == 200:
        await visit.answer(reply())
    else:
        await visit.answer({"code": "whatever", "message": "so it is"}, status, Retry_After="7")


async def test_each_failure_has_its_code(scripted: Scripted) -> None:
    """0 success, 1 request error, 3 retry later, 4 operator error; of several failures the first of 1, 4, 3 decides."""
    cases = {
        ("fine",): 0,
        ("status 400",): 1,
        ("status 401",): 4,
        ("status 409",): 3,
        ("status 429",): 3,
        ("status 503",): 3,
        ("nonsense",): 4,
        ("fine", "status 503", "status 429"): 3,
        ("status 503", "status 401", "fine"): 4,
        ("status 503", "status 401", "status 400"): 1,
    }
    async with scripted(by_text) as (served, _):
        words = [[word for text in texts for word in ("--text", text)] for texts in cases]
        ended = await asyncio.gather(*(run(served.app.target, "embed", "--max-retries", "0", *each) for each in words))

    assert {texts: each.code for texts, each in zip(cases, ended, strict=True)} == cases
    limited = ended[list(cases).index(("status 429",))]
    assert (
        'error: "status 429": UPSTREAM_RATE_LIMITED: so it is\n  retry after: 7 s\n  upstream: HTTP status 429'
        in limited.err
    )
    assert "  retry-after: 7\n" in limited.err
    assert "  request id: " in limited.err
    assert ended[0].err == ""
    assert not any("Traceback" in each.err for each in ended)


async def test_exit_codes_without_a_server(served: Served) -> None:
    """No server and an expired deadline exit with 3; a server of another protocol with 4."""
    bare = grpc.aio.server()
    port = bare.add_insecure_port("127.0.0.1:0")
    await bare.start()
    gone, late, other, listed, secure = await asyncio.gather(
        run(NO_SERVER, "embed", "--text", "a"),
        run(served.app.target, "embed", "--text", "a", "--timeout", "0"),
        run(f"127.0.0.1:{port}", "embed", "--text", "a"),
        run(NO_SERVER, "models"),
        run(served.app.target, "embed", "--text", "a", "--tls"),
    )
    await bare.stop(None)

    assert [each.code for each in (gone, late, other, listed, secure)] == [3, 3, 4, 3, 3]
    assert secure.err.startswith('error: "a": UNAVAILABLE: ')
    assert 'error: "a": UNAVAILABLE: ' in gone.err
    assert 'error: "a": DEADLINE_EXCEEDED: ' in late.err
    assert "error: UNAVAILABLE: " in listed.err
    assert "Traceback" not in gone.err + late.err + other.err + listed.err


async def test_an_invalid_command_line_exits_with_2() -> None:
    """An invalid command line is rejected before any call, and the message names the option."""
    cases: dict[tuple[str | Path, ...], str] = {
        (): "--text, --image, --audio: give at least one",
        ("--image", "no/such.png"): "--image: 'no/such.png': No such file",
        ("--audio", "."): "--audio: '.': Is a directory",
        ("--image", "x.png", "--truncate", "end"): "--truncate: is for texts, and there is none",
        ("--text", "a", "--start-offset", "2"): "--start-offset: is for audio, and there is none",
        ("--text", "a", "--timeout", "nan"): "'--timeout': must be 0 to 31536000 seconds, got nan",
        ("--text", "a", "--max-retries", "-1"): "'--max-retries': must be 0 to 2147483647, got -1",
        ("--audio", "x", "--start-offset", "-2"): "'--start-offset': must be 0 to 31536000 seconds, got -2",
        ("--text", "a", "--timeout", "x"): "'--timeout': must be 0 to 31536000 seconds, got x",
        ("--text", "a", "--max-retries", "1.5"): "'--max-retries': must be 0 to 2147483647, got 1.5",
        ("--text", "a", "--format", "xml"): "'--format': 'xml' is not one of 'table', 'json', 'npy'",
        ("--text", "a", "--truncate", "x"): "'--truncate': 'x' is not one of 'none', 'start', 'end'",
        ("--text", "a", "--model", "\udcff"): "'--model': must be UTF-8",
        ("--text", "a", "--tls-ca", "no.pem"): "--tls-ca",
        ("--text", "a", "--tls-ca", SAMPLES / "picture.png"): "--tls-ca: must be a file with certificates in PEM form",
        ("--text", "a", "--target", "http://a:1"): "--target: must be HOST:PORT without http://; use --tls for TLS",
        ("--tex", "a"): "--text",
        ("--text", "a", "--token", "s3cret"): "--token: set the variable EMBEDWIRE_TOKEN",
    }
    ended = await asyncio.gather(*(run("", "embed", *words) for words in cases))

    assert [each.code for each in ended] == [2] * len(cases)
    assert [said for said, each in zip(cases.values(), ended, strict=True) if said not in each.usage] == []
    assert not any(each.out or "s3cret" in each.err or "Traceback" in each.err for each in ended)
    assert "--token" not in ended[list(cases).index(("--tex", "a"))].usage


async def test_the_token_is_read_from_the_environment_and_not_shown() -> None:
    """The token is sent over TLS with the given roots; in plaintext to another machine it is refused, not printed."""
    authority = trustme.CA()
    seen: list[str | bytes] = []

    class Service(embedding_pb2_grpc.EmbeddingServiceServicer):
        async def ListModels(self, _: Any, context: grpc.aio.ServicerContext[Any, Any]) -> pb.ListModelsResponse:  # noqa: N802 - gRPC's
            seen.extend(value for key, value in context.invocation_metadata() or () if key == "authorization")
            return pb.ListModelsResponse(models=[pb.Model(name="one", dimensions=3)])

    certificate = authority.issue_cert("localhost")
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    server = grpc.aio.server()
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(Service(), server)  # type: ignore[abstract]
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)])
    )
    await server.start()
    with authority.cert_pem.tempfile() as roots:
        tls = ("models", "--format", "json", "--tls-ca", roots)
        ended, plain, text = await asyncio.gather(
            run(f"localhost:{port}", *tls, EMBEDWIRE_TOKEN="s3cret"),
            run("192.0.2.1:1", "embed", "--text", "a", EMBEDWIRE_TOKEN="s3cret"),
            run("", "embed", "--help", EMBEDWIRE_TOKEN="s3cret"),
        )
    await server.stop(None)

    assert (ended.code, ended.lines[0]["name"], seen) == (0, "one", ["Bearer s3cret"])
    assert plain.code == 2
    assert "EMBEDWIRE_TOKEN: would be sent in plaintext; pass --tls" in plain.usage
    assert "s3cret" not in plain.err + text.out + ended.out
    assert "--token" not in text.out


@pytest.mark.parametrize("source", ["path", "stdin", "lines"])
async def test_an_interrupt_cancels_the_call_and_ends_with_130(scripted: Scripted, source: str) -> None:
    """Ctrl-C aborts the upstream request, also while standard input is being read, without a traceback."""

    async def wait(visit: Visit) -> None:
        await visit.gone()

    async with scripted(wait) as (served, upstream):
        with Terminal.open() as terminal:
            audio = SAMPLES / "melody.flac" if source == "path" else "-"
            words = (
                ("embed", "--text", "-", "--lines") if source == "lines" else ("embed", "--text", "a", "--audio", audio)
            )
            process = await start(served.app.target, *words, stdin=PIPE, stdout=terminal.theirs, stderr=terminal.theirs)
            terminal.close_theirs()
            await terminal.read_until("waiting for the answer")
            if source == "lines":
                assert process.stdin is not None
                process.stdin.write(b"a\n")
            async with asyncio.timeout(20):
                while not upstream.visits:
                    await asyncio.sleep(0.01)
                process.send_signal(signal.SIGINT)
                await terminal.read_until(None)
                code = await process.wait()
                await upstream.visits[0].gone()

    assert code == 130
    assert terminal.screen[-1] == "error: interrupted"
    assert "Traceback" not in terminal.written
    assert "Fatal" not in terminal.written


@pytest.mark.parametrize("form", ["json", "table"])
async def test_a_closed_pipe_ends_it_quietly(scripted: Scripted, form: str) -> None:
    """If the reader of stdout exits, as with `| head -n 1`, the exit code is that of SIGPIPE and stderr is empty."""

    async def many(visit: Visit) -> None:
        await visit.answer(reply("audio_embedding", segments=2000))

    async with scripted(many) as (served, _):
        command = '"$@" | head -n 1; exit ${PIPESTATUS[0]}'
        words = ("embed", "--format", form, "--audio", str(SAMPLES / "melody.flac"))
        shell = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            command,
            "bash",
            *COMMAND,
            *words,
            env=environment(served.app.target),
            stdout=PIPE,
            stderr=PIPE,
        )
        out, err = await shell.communicate()

    assert (shell.returncode, err) == (141, b"")
    assert out.count(b"\n") == 1
