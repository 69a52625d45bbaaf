"""Files on the command line: several for an option, patterns, and odd names."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
import typer

from embedwire.cli.commands import one_value_each
from embedwire.cli.given import InputArgument, expand
from tests.e2e.cli.running import COMMAND, PIPE, SAMPLES, Ended, environment, run
from tests.support import media
from tests.support.serving import Served

JSON = ("--format", "json")


def keys(ended: Ended) -> list[str]:
    """The keys of the results, in the order of the inputs."""
    found = {line["input_index"]: line["input_key"] for line in ended.lines if line["type"] == "result"}
    return [found[index] for index in sorted(found)]


async def shell(target: str, folder: Path, words: str) -> Ended:
    """Run `embedwire embed` with these words of a shell, in a folder."""
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'"$@" embed --format json {words}', "sh", *COMMAND),
        cwd=folder,
        env=environment(target),
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()
    return Ended(process.returncode or 0, out, err.decode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images and audio."""
    (tmp_path / "data/deep").mkdir(parents=True)
    for name in ("data/a.png", "data/b c.png", "data/deep/d.png", "data/[1].png", "-odd.png"):
        shutil.copy(SAMPLES / "picture.png", tmp_path / name)
    (tmp_path / "data/m.mp3").write_bytes(media.mp3(2))
    return tmp_path


async def test_several_files(served: Served, folder: Path) -> None:
    """An option takes files up to the next option or after --; the shell or the command expands patterns, in order."""
    by_shell, by_command, missing, unquoted = await asyncio.gather(
        shell(served.app.target, folder, "--image data/[ab]*.png --audio data/*.mp3 --text 'a b'"),
        shell(served.app.target, folder, "--text=x --image 'data/[ab]*.png' -- -odd.png 'data/**/d.png'"),
        shell("", folder, "--image none/*.png"),
        shell("", folder, "--text a red fox"),
    )

    assert (by_shell.code, by_command.code, missing.code, unquoted.code) == (0, 0, 2, 2)
    assert keys(by_shell) == ["data/a.png", "data/b c.png", "data/m.mp3", "a b"]
    assert keys(by_command) == ["x", "data/a.png", "data/b c.png", "-odd.png", "data/deep/d.png"]
    assert "--image: 'none/*.png': no file matches this pattern" in missing.usage
    assert "--text: takes one text: write quotation marks around it" in unquoted.usage


COMMANDS = {
    "several": (
        "--image a b --text c --image=d e --audio f - -h",
        "--image=a --image=b --text=c --image=d --image=e --audio=f --audio=- -h",
    ),
    "dashes": ("--image a -- -b --c", "--image=a --image=-b --image=--c"),
    "joined": ("--image=-a --text -5 --text=--image --lines", "--image=-a --text=-5 --text=--image --lines"),
    "other options": ("--model m --tls --text t", "--model m --tls --text=t"),
    "no inputs": ("--model m -- --image a b", "--model m -- --image a b"),
}
OPTIONS = {"--text", "--image", "--audio", "--model", "--tls", "--lines", "-h"}


@pytest.mark.parametrize(("words", "expected"), COMMANDS.values(), ids=COMMANDS)
def test_the_values_of_an_option(words: str, expected: str) -> None:
    """Each value is written after the name of its option; other options are not changed."""
    assert list(one_value_each(words.split(), OPTIONS)) == expected.split()


MISTAKES = {
    "--image --audio m.mp3": "needs a file or URL",
    "--image -odd.png": "needs a file or URL; write ./-name for a name that begins with -",
    "--audio": "needs a file or URL",
    "--text --image a.png": "needs a text",
    "--text": "needs a text",
    "--text=a red fox": "takes one text: write quotation marks around it",
    "--text a data/a.png": "takes one text",
}


@pytest.mark.parametrize(("words", "said"), MISTAKES.items(), ids=MISTAKES)
def test_a_missing_or_further_value(words: str, said: str) -> None:
    """A missing value, or a text without quotation marks, is a usage error."""
    with pytest.raises(typer.BadParameter, match=said):
        list(one_value_each(words.split(), OPTIONS))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("data/[ab]*.png", ["data/a.png", "data/b c.png"]),
        ("data/d*", None),
        ("data/*", ["data/[1].png", "data/a.png", "data/b c.png", "data/m.mp3"]),
        ("data/[1].png", ["data/[1].png"]),
        ("data/none.png", ["data/none.png"]),
        ("https://host/*.png?a=[1]", ["https://host/*.png?a=[1]"]),
    ],
)
def test_patterns(folder: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, names: list[str] | None) -> None:
    """Patterns match files and not folders; the name of a file that exists and a URL are no patterns."""
    monkeypatch.chdir(folder)
    if names is None:
        with pytest.raises(typer.BadParameter, match="no file matches this pattern"):
            list(expand(InputArgument("image", pattern)))
    else:
        assert [each.value for each in expand(InputArgument("image", pattern))] == names


async def test_more_files_than_one_call_takes(served: Served, tmp_path: Path) -> None:
    """300 files and a missing one in their midst are sent in several calls; the missing file is a usage error."""
    for number in range(300):
        os.link(SAMPLES / "picture.png", tmp_path / f"{number:03}.png")
    (tmp_path / "150.txt").write_text("no picture")
    some = ("--image", f"{tmp_path}/*.png")
    lines, array, missing = await asyncio.gather(
        run(served.app.target, "embed", *JSON, *some, f"{tmp_path}/*.txt"),
        run(served.app.target, "embed", "--format", "npy", *some, "--output", tmp_path / "a.npy"),
        run(served.app.target, "embed", *some, tmp_path / "none.png"),
    )

    assert (lines.code, array.code, missing.code) == (1, 0, 2)
    assert keys(lines) == [*(f"{tmp_path}/{number:03}.png" for number in range(300)), f"{tmp_path}/150.txt"]
    assert [line["input_index"] for line in lines.lines if line.get("failure")] == [300]
    assert lines.err.startswith(f"error: input 300, {tmp_path}/150.txt: INPUT_REJECTED: ")
    assert lines.err.count("error: ") == 1
    assert array.err == "inputs 0-299: rows 0-299\n"
    assert "No such file or directory" in missing.usage
