"""Start a server on the embedded sandbox and embed a text, an image and an audio file through gRPC.

Prints each segment as it arrives and some lines of the metrics. Ends with 0 if every input was
embedded. Run it with `make demo`, or with the address of a running server as its argument.
"""

import contextlib
import json
import pathlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

from embedwire import Audio, Client, Image, Result, Segment, Text

SAMPLES = pathlib.Path(__file__).parent / "samples"
COMMAND = [sys.executable, "-m", "embedwire_server", "serve", "--upstream", "sandbox", "--log-format", "json"]
SHOWN_METRICS = ("embedwire_inputs_total", "embedwire_segments_total", "embedwire_upstream_requests_total")


def main() -> int:
    """Run the demo and return the exit code."""
    if len(sys.argv) > 1:
        return embed(sys.argv[1])
    with server() as (target, metrics_url):
        failures = embed(target)
        show_metrics(metrics_url)
    return failures


@contextlib.contextmanager
def server() -> Iterator[tuple[str, str]]:
    """Start a server on free ports; yield its address and the URL of its metrics."""
    command = [*COMMAND, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own command
    assert process.stderr is not None  # noqa: S101 - it is piped
    with process:
        try:
            for line in process.stderr:
                record = json.loads(line)
                print(f"server: {record['body']}")
                if record["body"] == "serving":
                    yield record["embedwire.target"], record["embedwire.metrics"]
                    return
            raise SystemExit("the server did not start")
        finally:
            process.terminate()
            process.communicate()


def embed(target: str) -> int:
    """Embed the three samples in one call; return the number of inputs that failed."""
    inputs = [
        Text((SAMPLES / "text.txt").read_text().strip(), key="text.txt"),
        Image(path=SAMPLES / "picture.png", key="picture.png"),
        Audio(path=SAMPLES / "melody.flac", key="melody.flac"),
    ]
    print(f"\nCreateEmbedding on {target}, marengo3.0, three inputs:\n")
    print("    ms  input  segment  modality  offsets (s)   option         dims  first values")
    failures = 0
    with Client(target) as client:
        began = time.perf_counter()
        for event in client.stream("marengo3.0", inputs):
            elapsed = f"{(time.perf_counter() - began) * 1000:6.0f}"
            if isinstance(event, Segment):
                print(elapsed, segment_line(event))
            elif isinstance(event, Result):
                print(elapsed, result_line(event))
                failures += event.failure is not None
    return failures


def segment_line(segment: Segment) -> str:
    """Format a segment as a row of the table."""
    offsets = ""
    if segment.modality == "audio":
        offsets = f"{segment.start_offset_sec:5.1f} - {segment.end_offset_sec:.1f}"
    values = " ".join(f"{value:+.4f}" for value in segment.vector[:4])
    return (
        f"{segment.input_index:6}  {segment.segment_index:7}  {segment.modality:8}  {offsets:12}  "
        f"{segment.embedding_option:13}  {len(segment.vector):4}  {values} ..."
    )


def result_line(result: Result) -> str:
    """Format the result of an input."""
    if result.failure is not None:
        return f"{result.input_index:6}  failed: {result.failure}"
    segments = "1 segment" if result.segment_count == 1 else f"{result.segment_count} segments"
    return f"{result.input_index:6}  done: {result.input_key}, {segments} from {result.upstream}"


def show_metrics(url: str) -> None:
    """Print some of the server's Prometheus metrics."""
    print(f"\nFrom {url}:\n")
    with urllib.request.urlopen(url, timeout=10) as page:  # noqa: S310 - the server's own address
        lines = page.read().decode().splitlines()
    for line in lines:
        if line.startswith(SHOWN_METRICS):
            print(line)


if __name__ == "__main__":
    sys.exit(main())
