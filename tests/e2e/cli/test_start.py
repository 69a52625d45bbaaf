"""Help, version, the missing extra, and `embedwire models`."""

import asyncio
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cli.running import environment, run, run_on_terminal
from tests.support.serving import Served

SCRIPT = Path(sys.executable).with_name("embedwire")
BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
sys.argv = ["embedwire", *{words!r}]
"""
STARTS = {
    "script": f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')",
    "module": "import runpy; runpy.run_module('embedwire', run_name='__main__')",
}


@pytest.mark.parametrize(("way", "blocked"), [("script", "typer"), ("module", "typer"), ("module", "rich")])
def test_a_missing_extra_is_reported_in_one_line(way: str, blocked: str) -> None:
    """If a package of the extra cannot be imported, the command names the extra and exits with 2."""
    code = BLOCKED.format(blocked=blocked, words=["models"]) + STARTS[way]
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 2
    assert ended.stderr == "error: the command needs more packages: pip install 'embedwire[cli]'\n"


async def test_a_missing_extra_for_plots_is_reported_before_the_call(served: Served, tmp_path: Path) -> None:
    """Without matplotlib, `plot` names the extra and exits with 2, and makes no call."""
    words = ["plot", "--text", "a", "--text", "b", "--output", str(tmp_path / "a.png"), "--target", served.app.target]
    code = BLOCKED.format(blocked="matplotlib", words=words) + STARTS["module"]
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stderr=asyncio.subprocess.PIPE)
    _, err = await process.communicate()

    assert process.returncode == 2
    assert err.decode() == "error: the command needs more packages: pip install 'embedwire[plot]'\n"
    assert served.metric("grpc_server_started_total") == 0
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("blocked", ["pyarrow", "fsspec", "tinytag"])
def test_a_missing_extra_for_batches_is_reported_before_a_source_is_read(blocked: str, tmp_path: Path) -> None:
    """Without a package of the extra, `batch` names it and exits with 2; other subcommands do not need it."""
    words = {"batch": ["batch", str(tmp_path), "--output", str(tmp_path / "out")], "embed": ["embed", "--help"]}
    codes = {name: BLOCKED.format(blocked=blocked, words=each) + STARTS["module"] for name, each in words.items()}
    ended = {
        name: subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        for name, code in codes.items()
    }

    assert ended["batch"].stderr == "error: the command needs more packages: pip install 'embedwire[batch]'\n"
    assert (ended["batch"].returncode, ended["embed"].returncode) == (2, 0)
    assert list(tmp_path.iterdir()) == []


def test_matplotlib_and_numpy_are_not_needed_to_start() -> None:
    """Packages for plots only are not imported before a plot is drawn."""
    code = BLOCKED.format(blocked="matplotlib", words=["--version"]) + STARTS["module"]
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


async def test_version_and_help() -> None:
    """The version is the package's; the help fits 80 columns and documents inputs, target and exit codes."""
    version, text, script = await asyncio.gather(
        run("", "--version"), run("", "embed", "--help"), _script("embed", "--help")
    )

    assert version.out == f"embedwire {importlib.metadata.version('embedwire')}\n"
    assert (text.code, max(map(len, text.out.splitlines()))) == (0, 80)
    for word in ("--text", "--image", "--audio", "EMBEDWIRE_TARGET", "EMBEDWIRE_TOKEN", "Exit codes"):
        assert word in text.out
    for code in (0, 1, 2, 3, 4, 5, 130, 141):
        assert f"\n {code} " in text.out
    assert script == text.out


async def test_models_are_a_table_or_lines(served: Served) -> None:
    """Each model with its aliases and limits, within the width of the terminal, and as JSON for scripts."""
    lines, (code, terminal) = await asyncio.gather(
        run(served.app.target, "models", "--format", "json"), run_on_terminal(served.app.target, "models")
    )

    assert (lines.code, code) == (0, 0)
    assert [line["name"] for line in lines.lines] == ["marengo3.0", "marengo3.5", "Marengo-retrieval-2.7"]
    assert lines.lines[0]["image"]["media_types"] == ["image/jpeg", "image/png"]
    assert max(map(len, terminal.screen)) <= 80
    assert "= marengo2.7" in terminal.written
    assert "to 256 MiB" in terminal.written


async def _script(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(SCRIPT, *words, env=environment(), stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode()
