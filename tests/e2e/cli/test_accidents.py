"""The command on errors around it: it loses no input, leaves no partial files, and shows no tracebacks."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

from tests.e2e.cli.running import COMMAND, PIPE, SAMPLES, Terminal, environment, run, start
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
    """An existing output file is truncated when the first line of the answer is written, and not before."""
    old = tmp_path / "old.json"
    old.write_text("precious\n" * 50_000)
    words = ("--format", "json", "--output", old)
    ended = await run(served.app.target, "embed", "--image", tmp_path / "nothing.png", *words)
    kept = old.read_text()
    done = await run(served.app.target, "embed", "--text", "a", *words)

    assert (ended.code, kept) == (2, "precious\n" * 50_000)
    assert done.code == 0
    assert "precious" not in old.read_text()
    assert old.read_text().count('"type"') == 2


async def test_a_closed_or_full_stdout_causes_no_traceback(tmp_path: Path, served: Served) -> None:
    """A closed stdout does not prevent the work; a full one ends the command with exit code 1 and one line."""
    array = tmp_path / "a.npy"
    command = " ".join(COMMAND)
    scripts = {
        f"{command} embed --text a >&-": (0, ""),
        f"{command} embed --text a 2>&-": (0, ""),
        f"{command} embed --text a --format npy --output {array} >&- 2>/dev/null": (0, ""),
        f"{command} embed --text a >/dev/full": (1, "error: No space left on device\n"),
        f"{command} models >/dev/full": (1, "error: No space left on device\n"),
    }
    for script, expected in scripts.items():
        process = await asyncio.create_subprocess_shell(script, env=environment(served.app.target), stderr=PIPE)
        _, err = await process.communicate()
        assert (process.returncode, err.decode()) == expected, script
    assert array.stat().st_size > 2000


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
