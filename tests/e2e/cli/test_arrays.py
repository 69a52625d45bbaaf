"""`embedwire embed --format npy`."""

import asyncio
import io
from pathlib import Path

import numpy as np

from embedwire import AsyncClient, Audio, Text
from tests.e2e.cli.running import SAMPLES, run, run_on_terminal
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply

MELODY = SAMPLES / "melody.flac"


async def test_the_array_is_what_the_client_returns(served: Served, tmp_path: Path) -> None:
    """The array has float32 rows ordered by input, then segment, in a file or a pipe; stderr lists the rows' inputs."""
    file = tmp_path / "vectors.npy"
    words = ("embed", "--text", "a", "--audio", MELODY, "--text", "b", "--format", "npy")
    filed, piped = await asyncio.gather(
        run(served.app.target, *words, "--output", file), run(served.app.target, *words)
    )
    async with AsyncClient(served.app.target) as client:
        expected = await client.embed("marengo3.0", [Text("a"), Audio(path=MELODY), Text("b")])
    found = np.load(file)

    assert (filed.code, piped.code) == (0, 0)
    assert (found.dtype, found.shape) == (np.float32, (10, 512))
    assert np.array_equal(found, np.concatenate([each.matrix() for each in expected]))
    assert np.array_equal(found, np.load(io.BytesIO(piped.stdout)))
    assert filed.err == 'input 0, "a": row 0\ninput 1, melody.flac: rows 1-8\ninput 2, "b": row 9\n'
    assert list(tmp_path.iterdir()) == [file]


async def test_failed_inputs_have_no_rows_and_are_reported(scripted: Scripted, tmp_path: Path) -> None:
    """Other inputs keep their rows; if no row is left, an existing file is not changed."""
    file, kept = tmp_path / "vectors.npy", tmp_path / "kept.npy"
    kept.write_bytes(b"earlier")

    async def script(visit: Visit) -> None:
        if b"wrong" in visit.body:
            await visit.answer({"message": "no"}, 400)
        else:
            await visit.answer(reply())

    async with scripted(script) as (served, _):
        some, none = await asyncio.gather(
            run(served.app.target, "embed", "--text", "wrong", "--text", "a", "--format", "npy", "--output", file),
            run(served.app.target, "embed", "--text", "wrong", "--format", "npy", "--output", kept),
        )

    assert (some.code, none.code) == (1, 1)
    assert np.load(file).shape == (1, 512)
    assert 'input 0, "wrong": no rows, it failed\ninput 1, "a": row 0\n' in some.err
    assert 'error: input 0, "wrong": INPUT_REJECTED: inputs[0].text: no' in some.err
    assert "nothing to write" in none.err
    assert kept.read_bytes() == b"earlier"
    assert sorted(tmp_path.iterdir()) == [kept, file]


async def test_an_array_to_a_terminal_is_refused(served: Served) -> None:
    """A binary array to a terminal is refused before the call, and the message names the option that helps."""
    code, terminal = await run_on_terminal(served.app.target, "embed", "--text", "a", "--format", "npy")

    assert code == 2
    assert "--output" in "".join(terminal.screen)


async def test_devices_and_directories_are_not_replaced(served: Served) -> None:
    """/dev/stdout is written to, and not replaced; a directory is a usage error."""
    words = ("embed", "--text", "a", "--format", "npy", "--output")
    written, refused = await asyncio.gather(
        run(served.app.target, *words, "/dev/stdout"), run(served.app.target, *words, "/")
    )

    assert np.load(io.BytesIO(written.stdout)).shape == (1, 512)
    assert Path("/dev/stdout").is_symlink()
    assert (refused.code, "--output" in refused.usage) == (2, True)
