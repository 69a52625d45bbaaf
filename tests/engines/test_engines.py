"""The examples of Daft, Ray Data and Spark, against two servers, with the commands of docs/engines.md."""

import ast
import asyncio
import shlex
import subprocess
import sys
import time

import pytest

from tests.docs.blocks import blocks
from tests.docs.owners import ENGINE_EXAMPLES, owned
from tests.engines.scene import EXAMPLES, ROWS, SECONDS, Scene
from tests.engines.upstream import EXHAUSTED

BLOCKS = owned(blocks(), ENGINE_EXAMPLES)
COMMANDS = [shlex.split(block.text.removeprefix("$ ")) for block in BLOCKS if block.language == "console"]
DAFT = next(command for command in COMMANDS if "daft_embed.py" in command)
_TIMEOUT = pytest.mark.timeout(900)
_WORKERS = 2  # of each example, and of Spark's local mode in the command
_MOST_LINES = 70

engines = pytest.mark.parametrize("command", COMMANDS, ids=["daft", "ray", "spark"])


@engines
@_TIMEOUT
async def test_each_text_is_embedded_once(command: list[str], scene: Scene) -> None:
    """A run embeds each text once, over both servers; texts that cannot be embedded have an error."""
    began = time.monotonic()
    await scene.complete(command)
    print(f"complete run: {time.monotonic() - began:.1f} s")  # noqa: T201 - for docs/engines.md

    scene.check_output()
    assert await scene.paid() == len(scene.texts) - 2
    assert all([await server.sums("embedwire_upstream_requests_total") for server in scene.servers])


@engines
@_TIMEOUT
async def test_a_killed_run_is_resumed(command: list[str], scene: Scene) -> None:
    """After SIGKILL in the middle, the command embeds the rest; at most a file of each worker is paid for again."""
    await scene.killed(command, after=len(scene.texts) * 2 // 5)
    saved = len(scene.files())
    await scene.complete(command)

    scene.check_output()
    again = await scene.paid() - (len(scene.texts) - 2)
    print(f"{saved} files at the kill, {again} texts paid for again")  # noqa: T201 - for docs/engines.md
    assert saved * ROWS < len(scene.texts)
    assert again <= _WORKERS * ROWS


@engines
@_TIMEOUT
async def test_a_complete_run_embeds_nothing_again(command: list[str], scene: Scene) -> None:
    """The command after a complete run pays for nothing; new rows of the input are embedded."""
    scene.write_texts(dict(list(scene.texts.items())[:ROWS]))
    await scene.complete(command)
    scene.write_texts(scene.texts | {"key-new": "a new text"})
    await scene.complete(command)

    scene.check_output()
    assert await scene.paid() == len(scene.texts) - 2


@_TIMEOUT
async def test_a_server_that_dies_costs_no_text(scene: Scene) -> None:
    """If one of two servers is killed, its texts are sent to the other one; none has an error for that."""
    async with scene.running(DAFT) as run:
        await scene.reach(run, len(scene.texts) // 4)
        scene.servers[0].process.kill()
        code = await asyncio.wait_for(run.process.wait(), SECONDS)
    assert code == 0, run.log.read_text()
    scene.check_output()


@_TIMEOUT
async def test_a_failure_of_all_texts_ends_the_run(scene: Scene) -> None:
    """A failure that no text is at fault for is not written as an error of texts: the run ends with it."""
    scene.write_texts({"key": f"{EXHAUSTED} account"})
    async with scene.running(DAFT) as run:
        code = await asyncio.wait_for(run.process.wait(), SECONDS)
    assert code != 0
    assert "UPSTREAM_QUOTA_EXHAUSTED" in run.log.read_text()
    assert scene.files() == []


@_TIMEOUT
async def test_the_page_reads_the_output(scene: Scene) -> None:
    """The program of the page finds the vectors, without those of failed texts."""
    await scene.complete(DAFT)

    program = next(block.text for block in BLOCKS if block.language == "python")
    words = [sys.executable, "-W", "error", "-c", program]
    printed = await asyncio.to_thread(subprocess.check_output, words, cwd=scene.folder, text=True)
    assert printed.split()[0] == str(len(scene.texts) - 2)


def test_the_examples_are_short_and_share_a_function() -> None:
    """The examples are for copying: each is complete and short, and what several contain is the same in all."""
    texts = [path.read_text() for path in sorted((EXAMPLES / "engines").glob("*.py"))]
    assert [sum(bool(line.strip()) for line in text.splitlines()) <= _MOST_LINES for text in texts] == [True] * 3
    nodes = [node for text in texts for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    bodies = {name: [ast.unparse(node) for node in nodes if node.name == name] for name in ("embed", "table")}
    assert {name: (len(found), len(set(found))) for name, found in bodies.items()} == {"embed": (3, 1), "table": (2, 1)}
