"""`embedwire batch --dry-run`."""

from pathlib import Path

from tests.e2e.cli.batching import write_texts
from tests.e2e.cli.running import SAMPLES, run, run_on_terminal
from tests.support.ports import NO_SERVER
from tests.support.serving import Served

QUOTA = ("--requests-per-minute", "text=60", "--requests-per-minute", "image=30", "--requests-per-minute", "audio=30")
PRICES = ("--price", "text=1", "--price", "image=2", "--price", "audio=6")


async def test_a_plan_has_counts_time_and_cost_and_needs_no_server(tmp_path: Path) -> None:
    """Inputs, sizes, minutes, time under the quota and cost by modality, without a server and without an output."""
    texts = write_texts(tmp_path / "in.jsonl", [f"text {number}" for number in range(119)])
    ended = await run(NO_SERVER, "batch", texts, SAMPLES, "--dry-run", *QUOTA, *PRICES)
    rows = {words[0]: words[1:] for line in ended.out.splitlines() if (words := line.split())}

    assert (ended.code, ended.err) == (0, "")
    assert rows["text"][0] == "120"
    assert rows["text"][-3:] == ["2", "min", "120.00"]
    assert rows["image"][-3:] == ["2.0", "s", "2.00"]
    assert rows["audio"][-4:] == ["0.3", "2.0", "s", "2.00"]
    assert rows["total"][0] == "122"
    assert rows["total"][-1] == "124.00"
    assert rows["requests"][0] == "122"
    assert list(tmp_path.iterdir()) == [texts]


async def test_options_of_audio_change_its_minutes() -> None:
    """Only the part of the audio that is embedded counts; without a quota and prices there are no such columns."""
    ended = await run(NO_SERVER, "batch", SAMPLES, "--dry-run", "--include", "*.flac", "--end-offset", "6")

    assert ended.code == 0
    assert ended.out.splitlines()[0].split() == ["inputs", "size", "minutes"]
    assert ended.out.splitlines()[1].split()[-1] == "0.1"


async def test_a_plan_of_a_resumed_run_counts_what_is_missing(served: Served, tmp_path: Path) -> None:
    """With an output, complete inputs are not counted; the plan changes nothing in it."""
    source = write_texts(tmp_path / "in.jsonl")
    await run(served.app.target, "batch", source, "--output", tmp_path / "out")
    write_texts(source, ("a red fox", "a blue bird", "a green frog", "a new text"))
    (tmp_path / "broken.jsonl").write_text("{\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a.pdf").write_bytes(b"a")
    words = ("batch", source, tmp_path / "broken.jsonl", tmp_path / "folder", "--output", tmp_path / "out")
    for _ in range(2):
        code, terminal = await run_on_terminal(NO_SERVER, *words, "--dry-run")
        assert code == 0
        assert [line.split()[:2] for line in terminal.screen[1:]] == [
            ["text", "1"],
            ["requests", "1"],
            ["complete", "before"],
            ["invalid", "1"],
            ["ignored", "1"],
            ["sent", "nothing,"],
        ]
