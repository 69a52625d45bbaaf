"""`embedwire plot`: image files of the right format."""

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from embedwire import Segment
from embedwire.cli import heatmaps
from tests.e2e.cli.running import SAMPLES, run
from tests.support.serving import Scripted, Served
from tests.support.upstreams import Visit, reply

MELODY, PICTURE = SAMPLES / "melody.flac", SAMPLES / "picture.png"


async def test_pictures_have_the_format_of_their_file_name(served: Served, tmp_path: Path) -> None:
    """One audio input over time as .png and .svg, several inputs as .pdf; one line describes the plot."""
    files = [tmp_path / name for name in ("time.png", "time.svg", "all.pdf")]
    several = ("--text", "$5 or $6_", "--image", PICTURE, "--audio", MELODY)
    ended = await asyncio.gather(
        run(served.app.target, "plot", "--output", files[0], "--audio", MELODY),
        run(served.app.target, "plot", "--output", files[1], "--audio", MELODY, "--option", "transcription"),
        run(served.app.target, "plot", "--output", files[2], *several),
    )
    with Picture.open(files[0]) as picture:
        picture.load()
        colours = picture.convert("RGB").getcolors(1 << 24)

    assert [each.code for each in ended] == [0, 0, 0]
    assert ended[0].out == f"{files[0]}: the similarity of 4 segments (audio) of melody.flac over time\n"
    assert ended[1].out == f"{files[1]}: the similarity of 4 segments (transcription) of melody.flac over time\n"
    assert ended[2].out == f"{files[2]}: the similarity of 3 inputs with each other\n"
    assert picture.format == "PNG"
    assert colours is not None
    assert len(colours) > 100
    assert files[1].read_text().startswith("<?xml")
    assert "<svg" in files[1].read_text()
    assert files[2].read_bytes().startswith(b"%PDF-")
    assert sorted(tmp_path.iterdir()) == sorted(files)


async def test_invalid_plots_are_usage_errors(served: Served, tmp_path: Path) -> None:
    """A single text, another file type, a missing embedding option or one for audio only is a usage error."""
    plot = (served.app.target, "plot", "--output", tmp_path / "a.png")
    ended = await asyncio.gather(
        run(*plot, "--text", "a"),
        run(served.app.target, "plot", "--text", "a", "--text", "b", "--output", tmp_path / "a.gif"),
        run(*plot, "--audio", MELODY, "--option", "colour"),
        run(*plot, "--text", "a", "--text", "b", "--option", "audio"),
    )

    assert [each.code for each in ended] == [2] * 4
    assert "--text: one input alone has nothing to be compared with; give a second one" in ended[0].usage
    assert "--output: must end in .png, .svg, .pdf" in ended[1].usage
    assert "--option: the answer has no 'colour'; it has audio, transcription" in ended[2].usage
    assert "--option: is for exactly one audio input" in ended[3].usage
    assert list(tmp_path.iterdir()) == []


async def test_failed_inputs_are_not_drawn(scripted: Scripted, tmp_path: Path) -> None:
    """The other inputs are drawn if there are two; the failure is on stderr and in the exit code."""

    async def script(visit: Visit) -> None:
        await (visit.answer({"message": "no"}, 400) if b"wrong" in visit.body else visit.answer(reply()))

    async with scripted(script) as (served, _):
        three = [word for text in ("a", "wrong", "b") for word in ("--text", text)]
        drawn, empty = await asyncio.gather(
            run(served.app.target, "plot", *three, "--output", tmp_path / "drawn.png"),
            run(served.app.target, "plot", *three[:4], "--output", tmp_path / "empty.png"),
        )

    assert (drawn.code, empty.code) == (1, 1)
    assert "the similarity of 2 inputs" in drawn.out
    assert 'error: input 1, "wrong": INPUT_REJECTED: inputs[1].text: no' in drawn.err
    assert "nothing was drawn" in empty.err
    assert [path.name for path in tmp_path.iterdir()] == ["drawn.png"]


def test_edges_of_windows() -> None:
    """A missing end of a window is the start of the next window or the end of the file; gaps stay empty."""

    def segment(start: float, end: float | None = None) -> Segment:
        return Segment(0, "", 0, "audio", np.zeros(2, np.float32), start, end)

    assert heatmaps.windows([segment(2), segment(11)], 20) == [(2, 11), (11, 20)]
    assert heatmaps.windows([segment(2), segment(11)], None) == [(2, 11), (11, 20)]
    assert heatmaps.windows([segment(0, 6), segment(8, 9)], 20) == [(0, 6), (8, 9)]
    axes = heatmaps.over_time(np.eye(2, dtype=np.float32), [(0, 6), (8, 9)], "").axes[0]
    cells = axes.collections[0].get_array()
    assert cells is not None
    assert np.ma.getmaskarray(cells).sum() == 5
    assert axes.get_xlim() == (0, 9)


def test_an_audio_input_is_the_mean_of_unit_vectors() -> None:
    """Long vectors weigh no more than short ones, and with many inputs their numbers are the labels."""
    rows = np.array([[3, 0], [0, 1]], np.float32)
    figure = heatmaps.of_inputs(np.eye(50, dtype=np.float32), ["$x"] * 50, "T", "a note")
    figure.savefig(io.BytesIO(), format="png")

    assert heatmaps.means([rows]) == pytest.approx(np.array([[0.5, 0.5]]))
    assert len(figure.axes[0].get_xticks()) == 50
    assert figure.axes[1].get_ylabel() == "cosine similarity"
