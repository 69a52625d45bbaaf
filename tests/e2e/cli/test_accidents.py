"""The command on errors around it: it loses no input, leaves no partial files, and shows no tracebacks."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.cli.batching import write_texts
from tests.e2e.cli.running import COMMAND, MPLCONFIGDIR, PIPE, SAMPLES, Terminal, environment, run, start
from tests.support.fonts import build_font_cache
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit

MELODY = SAMPLES / "melody.flac"


async def wait_for_the_caller(visit: Visit) -> None:
    await visit.gone()


async def test_an_input_is_never_the_output(tmp_path: Path, served: Served) -> None:
    """An output that is also the input is a usage error in every format, and the file is unchanged."""
    own = tmp_path / "own.png"
    shutil.copy(MELODY, own)
    ended = await asyncio.gather(
        *(
            run(served.app.target, "embed", "--audio", own, "--format", form, "--output", own)
            for form in ("table", "json", "npy")
        ),
        run(served.app.target, "plot", "--audio", own, "--output", own),
    )

    assert [each.code for each in ended] == [2] * 4
    assert all("is also the input own.png" in each.usage for each in ended)
    assert own.read_bytes() == MELODY.read_bytes()


async def test_an_existing_file_is_kept_if_the_command_fails(tmp_path: Path, served: Served) -> None:
    """An existing output file is replaced when the command ends, unless nothing was embedded."""
    old = tmp_path / "old.json"
    old.write_text("precious\n" * 50_000)
    words = ("--format", "json", "--output", old)
    for inputs, code in ((("--image", tmp_path / "nothing.png"), 2), (("--text", ""), 1)):
        ended = await run(served.app.target, "embed", *inputs, *words)
        assert (ended.code, old.read_text()) == (code, "precious\n" * 50_000)
        assert list(tmp_path.iterdir()) == [old]
    done = await run(served.app.target, "embed", "--text", "a", "--text", "", *words)

    assert done.code == 1
    assert "precious" not in old.read_text()
    assert old.read_text().count('"type"') == 3
    assert list(tmp_path.iterdir()) == [old]


async def test_lines_of_an_interrupted_command_are_kept_beside_the_output(served: Served, tmp_path: Path) -> None:
    """After Ctrl-C an existing output file is unchanged, and a note names the file with the lines until then."""
    old = tmp_path / "old.json"
    old.write_text("precious\n")
    words = ("embed", "--text", "-", "--lines", "--format", "json", "--output", old)
    process = await start(served.app.target, *words, stdin=PIPE)
    assert process.stdin is not None
    process.stdin.write(b"a\n")
    async with asyncio.timeout(30):
        while not any(path != old and path.stat().st_size for path in tmp_path.iterdir()):
            await asyncio.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    [part] = [path for path in tmp_path.iterdir() if path != old]

    assert (process.returncode, old.read_text()) == (130, "precious\n")
    assert err.decode() == f"note: the output until then is in {part}\nerror: interrupted\n"
    assert '"type": "segment"' in part.read_text()


async def test_a_closed_or_full_stdout_causes_no_traceback(tmp_path: Path, served: Served) -> None:
    """A closed stdout does not prevent the work; a full output ends the command with 5 and one line that names it."""
    await asyncio.to_thread(build_font_cache, MPLCONFIGDIR)
    array = tmp_path / "a.npy"
    command = " ".join(COMMAND)
    scripts = {
        f"{command} embed --text a >&-": (0, ""),
        f"{command} embed --text a 2>&-": (0, ""),
        f"{command} embed --text a --format npy --output {array} >&- 2>/dev/null": (0, ""),
        f"{command} embed --text a --output /dev/full": (5, "error: /dev/full: No space left on device\n"),
        f"{command} embed --text a --format npy >/dev/full": (
            5,
            'input 0, "a": row 0\nerror: stdout: No space left on device\n',
        ),
        f"{command} plot --text a --text b --output {tmp_path}/full.png": (
            5,
            f"error: {tmp_path}/full.png: No space left on device\n",
        ),
    } | {
        f"{command} {words} >/dev/full": (5, "error: stdout: No space left on device\n")
        for words in ("embed --text a", "embed --text a --format json", "models", "--help", "embed --help", "--version")
    }
    (tmp_path / "full.png").symlink_to("/dev/full")
    for script, expected in scripts.items():
        process = await asyncio.create_subprocess_shell(script, env=environment(served.app.target), stderr=PIPE)
        _, err = await process.communicate()
        assert (process.returncode, err.decode()) == expected, script
    assert array.stat().st_size > 2000


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("embed --text a", 0),
        ("embed --text a --format json", 0),
        ("embed --text a --max-retries 0 --target {nowhere}", 5),
        ("embed --text a --dimensions 0", 5),
        ("embed --nonsense", 5),
        ("batch {source} --output {output}", 0),
        ("batch {source}", 5),
    ],
)
async def test_a_full_stderr_is_a_full_output(served: Served, tmp_path: Path, words: str, code: int) -> None:
    """A message that cannot be written to stderr ends the command with 5; without messages stderr has no effect."""
    source = write_texts(tmp_path / "in.jsonl")
    command = words.format(source=source, output=tmp_path / "out", nowhere=NO_SERVER)
    process = await asyncio.create_subprocess_shell(
        f"{' '.join(COMMAND)} {command} 2>/dev/full", env=environment(served.app.target), stdout=PIPE
    )
    await process.communicate()
    assert process.returncode == code


async def test_the_exit_waits_for_daemon_threads() -> None:
    """A command returns once the daemon threads of libraries have ended: none holds a lock when Python stops them."""
    script = (
        "import sys, threading, time, embedwire.cli.app; from embedwire.__main__ import main;"
        "threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start(); code = main();"
        "print(*[thread.name for thread in threading.enumerate()]); sys.exit(code)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, "--version", stdout=PIPE)
    out, _ = await process.communicate()
    assert (process.returncode, out.splitlines()[-1]) == (0, b"MainThread")


@pytest.mark.parametrize("words", ["--help", "embed --help", "--version", "models", "embed --text a"])
async def test_a_closed_reader_ends_every_command(served: Served, words: str) -> None:
    """If the reader of stdout has ended, the exit code is that of SIGPIPE and stderr is empty."""
    reader, writer = os.pipe()
    os.close(reader)
    process = await start(served.app.target, *words.split(), stdout=writer)
    os.close(writer)
    _, err = await process.communicate()
    assert (process.returncode, err) == (141, b"")


async def test_a_terminated_command_leaves_no_partial_file(scripted: Scripted, tmp_path: Path) -> None:
    """SIGTERM and SIGHUP end the command with 128 plus the signal's number, and leave no partial file."""
    async with scripted(wait_for_the_caller) as (served, upstream):
        for number in (signal.SIGTERM, signal.SIGHUP):
            words = ("embed", "--text", "a", "--format", "npy", "--output", tmp_path / "a.npy")
            process = await start(served.app.target, *words)
            visits = len(upstream.visits)
            while len(upstream.visits) == visits:
                await asyncio.sleep(0.02)
            process.send_signal(number)
            await process.communicate()
            assert process.returncode == 128 + number
    assert not list(tmp_path.iterdir())


async def test_progress_of_a_pipe_has_no_total(scripted: Scripted) -> None:
    """The progress bar of an input without a known size shows the bytes sent, and no total."""
    reader, writer = os.pipe()
    async with scripted(wait_for_the_caller) as (served, _):
        with Terminal.open() as terminal:
            process = await start(served.app.target, "embed", "--audio", "-", stdin=reader, stderr=terminal.theirs)
            os.close(reader)
            await asyncio.to_thread(os.write, writer, bytes(50_000))
            await terminal.read_until("uploading")
            await terminal.read_until("bytes")
            process.kill()
            os.close(writer)
            await process.communicate()

    assert "/100" not in terminal.written


async def test_progress_without_a_width_and_without_secrets(served: Served) -> None:
    """With COLUMNS=0 progress is still shown, and it does not contain the query of a URL."""
    url = f"http://{NO_SERVER}/picture.png?signature=secret"
    ended = await run(served.app.target, "embed", "--text", "a", "--image", url, COLUMNS="0")

    assert "done:" in ended.out
    assert "/picture.png" in ended.out
    assert "secret" not in ended.out + ended.err


async def test_a_file_name_with_control_characters(served: Served, tmp_path: Path) -> None:
    """Control characters of a file name are replaced before it is sent."""
    odd = tmp_path / "mel\nody\x1b.flac"
    shutil.copy(MELODY, odd)

    assert (
        await run(served.app.target, "embed", "--audio", odd, "--format", "npy", "--output", tmp_path / "a")
    ).code == 0


async def test_a_wrong_target_is_a_usage_error() -> None:
    """A target that is not HOST:PORT is a usage error that names the option."""
    ended = await run("", "embed", "--text", "a", "--target", "http://127.0.0.1:50051")

    assert ended.code == 2
    assert "--target" in ended.usage
    assert "HOST:PORT" in ended.usage
