"""`embedwire batch` with each kind of source."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.cli.batching import TEXTS, failed, keys, rows, write_texts
from tests.e2e.cli.running import SAMPLES, run
from tests.support.serving import Served

MELODY_ROWS = 8


@dataclasses.dataclass
class Given:
    """Sources of a command in a folder: its words and stdin, and the expected keys."""

    words: Sequence[str | Path]
    keys: set[str]
    stdin: bytes = b""


def folder(at: Path) -> Given:
    (at / "sub").mkdir()
    for name in ("melody.flac", "sub/picture.png", "text.txt", "other.pdf"):
        shutil.copy(SAMPLES / Path(name.replace("other.pdf", "text.txt")).name, at / name)
    return Given([at], {"melody.flac", "sub/picture.png", "text.txt"})


def some_of_a_folder(at: Path) -> Given:
    given = folder(at)
    return Given([*given.words, "--include", "*.png", "--include", "*.flac"], {"melody.flac", "sub/picture.png"})


def file_url(at: Path) -> Given:
    return Given([folder(at).words[0].as_uri()], {"melody.flac", "sub/picture.png", "text.txt"})  # type: ignore[union-attr]


def file_list(at: Path) -> Given:
    shutil.copy(SAMPLES / "picture.png", at / "picture.png")
    (at / "files.txt").write_text(f"picture.png\n{SAMPLES}/melody.flac\n")
    return Given([at / "files.txt"], {"picture.png", f"{SAMPLES}/melody.flac"})


def json_lines(at: Path) -> Given:
    lines = [{"key": "fox", "text": TEXTS[0]}, {"text": TEXTS[1]}, {"key": "p", "image": str(SAMPLES / "picture.png")}]
    (at / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Given([at / "in.jsonl"], {"fox", "in.jsonl:1", "p"})


def other_fields(at: Path) -> Given:
    (at / "in.jsonl").write_text('{"id": "fox", "title": "a red fox"}\n')
    return Given([at / "in.jsonl", "--key-column", "id", "--text-column", "title"], {"fox"})


def parquet(at: Path) -> Given:
    columns = {"key": ["a", "b"], "text": [TEXTS[0], None], "image": [None, (SAMPLES / "picture.png").read_bytes()]}
    pq.write_table(pa.table(columns), at / "in.parquet")
    return Given([at / "in.parquet"], {"a", "b"})


def parquet_folder(at: Path) -> Given:
    for name in ("x", "y"):
        pq.write_table(pa.table({"key": [name], "text": [f"text {name}"]}), at / f"{name}.parquet")
    return Given([at, "--source-format", "parquet"], {"x", "y"})


def standard_input(_: Path) -> Given:
    return Given(["-", "--source-format", "jsonl"], {"fox"}, b'{"key": "fox", "text": "a red fox"}\n')


def several(at: Path) -> Given:
    write_texts(at / "texts.jsonl")
    (at / "images").mkdir()
    shutil.copy(SAMPLES / "picture.png", at / "images/picture.png")
    return Given([at / "texts.jsonl", at / "images"], {"t0", "t1", "t2", "picture.png"})


KINDS = (
    folder,
    some_of_a_folder,
    file_url,
    file_list,
    json_lines,
    other_fields,
    parquet,
    parquet_folder,
    standard_input,
    several,
)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_source_is_embedded(served: Served, tmp_path: Path, kind) -> None:  # type: ignore[no-untyped-def]
    """Every input of the source has its key in the output, once for each of its vectors, and nothing fails."""
    (tmp_path / "in").mkdir()
    given: Given = kind(tmp_path / "in")
    ended = await run(served.app.target, "batch", *given.words, "--output", tmp_path / "out", stdin=given.stdin)

    assert ended.code == 0, ended.err
    found = keys(tmp_path / "out")
    assert set(found) == given.keys
    assert {key for key, count in found.items() if count != 1} == {key for key in given.keys if "melody" in key}
    assert failed(tmp_path / "out") == {}
    assert ("ignored" in ended.out) == (kind in (folder, file_url))


async def test_a_row_has_the_vector_and_its_place(served: Served, tmp_path: Path) -> None:
    """The rows of audio have offsets and embedding options; those of a text none."""
    given = folder(tmp_path)
    await run(served.app.target, "batch", *given.words, "--output", tmp_path / "out")
    found = rows(tmp_path / "out")
    [text] = [row for row in found if row["modality"] == "text"]
    audio = [row for row in found if row["modality"] == "audio"]

    assert (text["key"], text["segment_index"], text["start_offset_sec"], len(text["vector"])) == (
        "text.txt",
        0,
        None,
        512,
    )
    assert [row["segment_index"] for row in audio] == list(range(MELODY_ROWS))
    assert {row["embedding_option"] for row in audio} == {"audio", "transcription"}
    assert (audio[-1]["start_offset_sec"], audio[-1]["end_offset_sec"]) == (18.0, 20.0)


async def test_options_of_inputs_apply_to_their_kind(served: Served, tmp_path: Path) -> None:
    """Options of audio, dimensions and truncation are those of `embed`; texts and images ignore those of audio."""
    given = folder(tmp_path)
    words = ("--embedding-option", "audio", "--segmentation", "fixed:10", "--truncate", "end", "--dimensions", "512")
    ended = await run(served.app.target, "batch", *given.words, "--output", tmp_path / "out", *words)
    audio = [row for row in rows(tmp_path / "out") if row["modality"] == "audio"]

    assert ended.code == 0, ended.err
    assert [(row["start_offset_sec"], row["embedding_option"]) for row in audio] == [(0, "audio"), (10, "audio")]


async def test_arrays(served: Served, tmp_path: Path) -> None:
    """With --format npy the output is an array and a line for each of its rows."""
    np = pytest.importorskip("numpy")
    source = write_texts(tmp_path / "in.jsonl")
    ended = await run(served.app.target, "batch", source, "--output", tmp_path / "out", "--format", "npy")
    array = np.load(tmp_path / "out/embeddings/part-00000.npy")
    lines = (tmp_path / "out/embeddings/part-00000.jsonl").read_text().splitlines()

    assert ended.code == 0, ended.err
    assert (array.shape, array.dtype) == ((3, 512), np.float32)
    assert {json.loads(line)["key"] for line in lines} == {"t0", "t1", "t2"}
