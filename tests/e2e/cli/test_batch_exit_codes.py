"""Exit codes of `embedwire batch`, and what it prints at its end."""

import asyncio
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embedwire.batch import BatchOptions
from tests.e2e.cli.batching import failed, keys, write_texts
from tests.e2e.cli.running import PIPE, SAMPLES, environment, run, start
from tests.support.ports import NO_SERVER
from tests.support.serving import Scripted, Served, until
from tests.support.upstreams import Visit, reply


async def test_complete_runs_end_with_0_and_pay_once(scripted: Scripted, tmp_path: Path) -> None:
    """A second run of the same command sends nothing, reports what was complete before, and also ends with 0."""

    async def answer(visit: Visit) -> None:
        await visit.answer(reply())

    source = write_texts(tmp_path / "in.jsonl")
    async with scripted(answer) as (served, upstream):
        first = await run(served.app.target, "batch", source, "--output", tmp_path / "out")
        visits = len(upstream.visits)
        second = await run(served.app.target, "batch", source, "--output", tmp_path / "out")

    assert (first.code, second.code, visits, len(upstream.visits)) == (0, 0, 3, 3), first.err
    assert "embedded         3 inputs, 3 vectors" in first.out
    assert f"vectors          {tmp_path}/out/embeddings, 1 file\n" in first.out
    assert "complete before  3 inputs\n" in second.out
    assert keys(tmp_path / "out") == {"t0": 1, "t1": 1, "t2": 1}


async def test_failed_inputs_end_with_1(served: Served, tmp_path: Path) -> None:
    """Rejected inputs are in failures.jsonl with their reasons, and the output of the command has only their number."""
    image = tmp_path / "secret.png"
    image.write_bytes(b"no image")
    lines = [{"key": "fox", "text": "a red fox"}, {"key": "k9", "image": str(image)}, {"key": "none"}]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines) + "{\n")
    ended = await run(served.app.target, "batch", source, "--output", tmp_path / "out")
    again = await run(served.app.target, "batch", source, "--output", tmp_path / "out")

    assert (ended.code, again.code) == (1, 1), ended.err
    assert set(keys(tmp_path / "out")) == {"fox"}
    assert set(failed(tmp_path / "out")) == {"k9", "none", "in.jsonl:3"}
    assert failed(tmp_path / "out")["k9"]["reason"] == "INPUT_REJECTED"
    assert "failed           3 inputs: " in ended.out
    assert str(tmp_path / "out/failures.jsonl") in ended.out
    assert "--retry-failed" in ended.out
    assert not any(word in ended.out + ended.err for word in ("k9", "secret", "fox"))

    image.write_bytes((SAMPLES / "picture.png").read_bytes())
    retried = await run(served.app.target, "batch", source, "--output", tmp_path / "out", "--retry-failed")
    assert retried.code == 1
    assert set(failed(tmp_path / "out")) == {"none", "in.jsonl:3"}


async def test_an_outage_ends_with_3_and_is_resumed(scripted: Scripted, tmp_path: Path) -> None:
    """If the upstream fails for --outage-timeout, the run ends with 3, and no input is marked as failed."""
    source = write_texts(tmp_path / "in.jsonl")
    words = ("batch", source, "--output", tmp_path / "out", "--max-retries", "0")
    async with scripted(lambda visit: visit.answer({}, 503)) as (served, _):
        ended = await run(served.app.target, *words, "--outage-timeout", "1s")
    async with scripted(lambda visit: visit.answer(reply())) as (served, _):
        resumed = await run(served.app.target, *words)

    assert (ended.code, resumed.code) == (3, 0), ended.err
    assert "error: UPSTREAM_UNAVAILABLE: " in ended.err
    assert "not complete     run the same command again" in ended.out
    assert failed(tmp_path / "out") == {}
    assert keys(tmp_path / "out") == {"t0": 1, "t1": 1, "t2": 1}


async def test_a_start_without_a_server_ends_with_3(served: Served, tmp_path: Path) -> None:
    """If the server cannot be reached at the start, the command ends immediately, and can be repeated."""
    words = ("batch", write_texts(tmp_path / "in.jsonl"), "--output", tmp_path / "out")
    ended = await run(NO_SERVER, *words)
    resumed = await run(served.app.target, *words)

    assert (ended.code, resumed.code) == (3, 0), ended.err
    assert "error: UNAVAILABLE: " in ended.err
    assert keys(tmp_path / "out") == {"t0": 1, "t1": 1, "t2": 1}


async def test_temporary_failures_that_are_left_end_with_3(scripted: Scripted, tmp_path: Path) -> None:
    """An input that failed in all its attempts is sent again by the next run without an option."""

    async def one_fails(visit: Visit) -> None:
        await (visit.answer({}, 503) if b"bird" in visit.body else visit.answer(reply()))

    source = write_texts(tmp_path / "in.jsonl")
    words = ("batch", source, "--output", tmp_path / "out", "--max-retries", "0", "--max-attempts", "1")
    async with scripted(one_fails) as (served, _):
        ended = await run(served.app.target, *words)
        assert (ended.code, failed(tmp_path / "out")["t1"]["reason"]) == (3, "UPSTREAM_UNAVAILABLE"), ended.err
    async with scripted(lambda visit: visit.answer(reply())) as (served, upstream):
        assert (await run(served.app.target, *words)).code == 0
        assert len(upstream.visits) == 1


async def test_sources_without_inputs_end_with_0(served: Served, tmp_path: Path) -> None:
    """An empty source is no error, but the summary states it: a pattern may be wrong."""
    ended = await run(served.app.target, "batch", SAMPLES, "--include", "*.jpg", "--output", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert "\n                 the sources have no inputs\n" in ended.out


async def test_a_source_that_cannot_be_read_ends_with_1(served: Served, tmp_path: Path) -> None:
    """A file that is no table, found in the middle, is an error of the source, not of the output."""
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"text": ["a red fox"]}), tmp_path / "in/a.parquet")
    (tmp_path / "in/broken.parquet").write_bytes(b"no table")
    words = (tmp_path / "in", "--source-format", "parquet", "--output", tmp_path / "out")
    ended = await run(served.app.target, "batch", *words)
    assert ended.code == 1
    assert "broken.parquet: " in ended.err
    assert "Traceback" not in ended.err


async def test_credentials_end_with_4_and_no_input_fails(scripted: Scripted, tmp_path: Path) -> None:
    """If the upstream rejects the server's key, the run ends immediately; no input is recorded as failed."""

    async def reject(visit: Visit) -> None:
        await visit.answer({"code": "api_key_invalid", "message": "no"}, 401)

    source = write_texts(tmp_path / "in.jsonl")
    async with scripted(reject) as (served, _):
        ended = await run(served.app.target, "batch", source, "--output", tmp_path / "out")
    assert ended.code == 4, ended.err
    assert "error: UPSTREAM_CREDENTIALS: " in ended.err
    assert failed(tmp_path / "out") == {}


async def test_usage_errors_end_with_2(served: Served, tmp_path: Path) -> None:
    """An invalid command line, a source that does not exist and the output of other settings are usage errors."""
    source = write_texts(tmp_path / "in.jsonl")
    done = ("batch", source, "--output", tmp_path / "done")
    assert (await run(served.app.target, *done)).code == 0
    (tmp_path / "unknown.bin").write_bytes(b"a")
    new = ("--output", tmp_path / "new")
    cases: dict[tuple[str | Path, ...], str] = {
        (*done, "--model", "marengo3.5"): "--model: this output was written with 'marengo3.0', not with 'marengo3.5'",
        (*done, "--dimensions", "256"): "--dimensions: this output was written with '512', not with '256'",
        (*done, "--format", "npy"): "--format: this output was written with 'parquet', not with 'npy'",
        (*done, "--uncertainty"): "--uncertainty: this output was written with 'False', not with 'True'",
        (*done, "--truncate", "end"): "--truncate: this output was written without a value, not with 'end'",
        (*done, "--segmentation", "fixed:5"): "--segmentation: this output was written without a value, not with",
        ("batch", tmp_path / "nowhere", *new): "SOURCE: ",
        ("batch", tmp_path / "nowhere.jsonl", *new): "SOURCE: ",
        ("batch", tmp_path / "unknown.bin", *new): "SOURCE: ",
        ("batch", "nope://bucket/a", *new): "SOURCE: ",
        ("batch", "-", *new): "SOURCE: ",
        ("batch", source): "--output: needs a folder",
        ("batch", *new): "Missing argument 'SOURCE'",
        ("batch", source, *new, "--outage-timeout", "5"): "must be a duration from 1s to 30d, such as 30s, 10m or 1h",
        ("batch", source, *new, "--inputs-per-call", "0"): "'--inputs-per-call': must be 1 to 256, got 0",
        ("batch", source, *new, "--price", "text=1"): "--price: is for --dry-run",
        ("batch", source, "--dry-run", "--price", "text=x"): "--price: must be one of text=AMOUNT",
        ("batch", source, "--dry-run", "--requests-per-minute", "video=1"): "must be one of text=N, image=N, audio=N",
        ("batch", source, *new, "--target", "http://a:1"): "--target: must be HOST:PORT",
    }
    # One at a time: a run that finds the output locked by another case ends with that error.
    ended = [await run(served.app.target, *words) for words in cases]

    assert [each.code for each in ended] == [2] * len(cases), [each.err for each in ended if each.code != 2]
    assert [said for said, each in zip(cases.values(), ended, strict=True) if said not in each.usage] == []
    assert not any("Traceback" in each.err for each in ended)


async def test_an_output_inside_a_folder_of_tables_ends_with_2(served: Served, tmp_path: Path) -> None:
    """An output that a later run would read as a source is rejected by the first one."""
    write_texts(tmp_path / "in.jsonl")
    ended = await run(
        served.app.target, "batch", tmp_path, "--source-format", "jsonl", "--output", tmp_path / "tables" / "out"
    )
    assert ended.code == 2
    assert "must not be inside the source" in " ".join(ended.err.split())
    assert not (tmp_path / "tables").exists()


async def test_an_output_in_use_ends_with_2(scripted: Scripted, tmp_path: Path) -> None:
    """A second command for the same output ends immediately, and does not disturb the first one."""
    go_on = asyncio.Event()

    async def hold(visit: Visit) -> None:
        await go_on.wait()
        await visit.answer(reply())

    source = write_texts(tmp_path / "in.jsonl")
    async with scripted(hold) as (served, upstream):
        first = await start(served.app.target, "batch", source, "--output", tmp_path / "out")
        await until(lambda: bool(upstream.visits))
        second = await run(served.app.target, "batch", source, "--output", tmp_path / "out")
        go_on.set()
        await first.communicate()

    assert (second.code, first.returncode) == (2, 0)
    assert "--output: " in second.usage


async def test_an_output_that_cannot_be_written_ends_with_5(served: Served, tmp_path: Path) -> None:
    """A path that is no folder, and a disk that is full, end the run with 5 and one line that names the output."""
    source = write_texts(tmp_path / "in.jsonl", [f"text {number}" for number in range(200)])
    below = await run(served.app.target, "batch", source, "--output", source / "out")
    # The limit of a file's size stands for a full disk; Python ignores its signal.
    limited = "import resource as r, runpy; r.setrlimit(r.RLIMIT_FSIZE, (200_000, r.RLIM_INFINITY));"
    code = f"{limited} runpy.run_module('embedwire', run_name='__main__')"
    words = ("batch", str(source), "--output", str(tmp_path / "out"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *words, env=environment(served.app.target), stdout=PIPE, stderr=PIPE
    )
    _, err = await process.communicate()
    resumed = await run(served.app.target, *words)

    assert (below.code, process.returncode, resumed.code) == (5, 5, 0), (below.err, err, resumed.err)
    assert "Traceback" not in below.err + err.decode()
    assert below.err.splitlines()[-1].startswith("error: ")
    assert len(keys(tmp_path / "out")) == 200


async def test_the_help_states_the_defaults() -> None:
    """The defaults in the help are those of the library."""
    shown = " ".join((await run("", "batch", "--help", COLUMNS="200")).out.replace("│", " ").split())
    options = BatchOptions()
    for text in (
        f"Inputs of a call. Default: {options.inputs_per_call}.",
        f"Concurrent calls. Default: {options.concurrent_calls}.",
        f"Default: {options.max_attempts}.",
        f"Rows (vectors) of a file of the output. Default: {options.part_rows}.",
        f"Default: {options.outage_timeout / 3600:.0f}h.",
    ):
        assert text in shown
