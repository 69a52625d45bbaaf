"""The examples of Daft, Ray Data and Spark, against two servers."""

import ast
import dataclasses
import sys
from pathlib import Path

import pytest

from tests.engines.scene import EXAMPLES, ROWS, Scene

_WORKERS = 2


@dataclasses.dataclass(frozen=True)
class Engine:
    """An example.

    Attributes:
        file: its name.
        command: the program that runs it, and its options.
        unsaved: files whose texts are paid for before they are written, at most.
    """

    file: str
    command: tuple[str, ...]
    unsaved: int

    @property
    def words(self) -> tuple[str, ...]:
        return (*self.command, str(EXAMPLES / "engines" / self.file))


_SPARK_SUBMIT = str(Path(sys.executable).with_name("spark-submit"))
ENGINES = (
    Engine("daft_embed.py", (sys.executable,), _WORKERS),
    Engine("ray_embed.py", (sys.executable,), _WORKERS),
    Engine("spark_embed.py", (_SPARK_SUBMIT, "--master", f"local[{_WORKERS}]"), _WORKERS),
)
engines = pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.file)


@engines
@pytest.mark.timeout(900)
async def test_each_text_is_embedded_once(engine: Engine, scene: Scene) -> None:
    """A run embeds each text once, over both servers; texts that cannot be embedded have an error."""
    await scene.complete(*engine.words)

    scene.check_output()
    assert await scene.paid() == len(scene.texts) - 2
    assert all([await server.sums("embedwire_upstream_requests_total") for server in scene.servers])


@engines
@pytest.mark.timeout(900)
async def test_a_killed_run_is_resumed(engine: Engine, scene: Scene) -> None:
    """After SIGKILL in the middle, the same command embeds the rest; what was not in a file is paid for again."""
    await scene.killed(*engine.words, after=len(scene.texts) * 2 // 5)
    saved = len(scene.files())
    await scene.complete(*engine.words)

    scene.check_output()
    again = await scene.paid() - (len(scene.texts) - 2)
    print(f"{engine.file}: {saved} files at the kill, {again} texts paid for again")  # noqa: T201 - for docs/engines.md
    assert again <= engine.unsaved * ROWS


def test_the_examples_share_a_function() -> None:
    """The examples are for copying: each contains the function `embed`, and it is the same in all."""
    trees = [ast.parse((EXAMPLES / "engines" / engine.file).read_text()) for engine in ENGINES]
    found = [node for tree in trees for node in tree.body if getattr(node, "name", "") == "embed"]
    assert len(found) == len(ENGINES)
    assert len({ast.unparse(node) for node in found}) == 1
