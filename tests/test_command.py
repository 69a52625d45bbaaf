"""The commands as an operator runs them: exit codes, output, signals."""

import asyncio
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from process import ServerProcess

DEMO = Path(__file__).parents[1] / "clients/python/examples/demo.py"


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "embedwire_server", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


async def test_a_server_starts_answers_and_ends_with_0() -> None:
    """`serve` serves until SIGTERM; `health` says so, and says when it is gone."""
    async with ServerProcess.running() as server:
        assert (await asyncio.to_thread(run, "health", "--listen", server.target)).stdout == "SERVING\n"
        assert await server.terminate() == 0
        gone = await asyncio.to_thread(run, "health", "--listen", server.target)
    assert (gone.returncode, gone.stdout) == (1, "UNAVAILABLE\n")


async def test_a_second_signal_ends_at_once() -> None:
    """A drain that would take a minute is cut short by a second signal."""
    async with ServerProcess.running(drain_delay=60) as server:
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            while not any("draining" in line for line in server.log):
                await asyncio.sleep(0.02)
        assert await server.terminate() == -signal.SIGTERM


def test_beyond_loopback_the_sandbox_is_no_default() -> None:
    """Without a key and an upstream, a server that others can reach does not start and says what to set."""
    ended = run("serve", "--listen", "0.0.0.0:0")

    assert ended.returncode == 2
    assert "TWELVELABS_API_KEY" in ended.stderr
    assert "--upstream" in ended.stderr


async def test_health_needs_no_upstream() -> None:
    """A probe beside a server whose upstream is a flag knows no more than the address, and that is enough."""
    async with ServerProcess.running() as server:
        target = server.target.replace("127.0.0.1", "0.0.0.0")
        probed = await asyncio.to_thread(run, "health", EMBEDWIRE_LISTEN=target)
    assert (probed.returncode, probed.stdout) == (0, "SERVING\n")


async def test_a_port_in_use_is_said_in_one_line() -> None:
    """A server that cannot listen says so without a traceback and ends with 1."""
    async with ServerProcess.running() as server:
        words = ("serve", "--listen", server.target, "--metrics-listen", "127.0.0.1:0", "--upstream", "sandbox")
        ended = await asyncio.to_thread(run, *words)
    lines = ended.stderr.splitlines()

    assert ended.returncode == 1
    assert lines[-1].startswith("embedwire-server: cannot start: ")
    assert server.target in lines[-1]
    assert "Traceback" not in ended.stderr


def test_all_faults_of_the_settings_are_reported_at_once() -> None:
    """Each wrong flag and variable has its line, with the name of the setting."""
    ended = run("config", "--listen", "nowhere", "--grace", "-1", EMBEDWIRE_MAX_INPUTS="none")

    assert ended.returncode == 2
    assert [line.split(": ")[1] for line in ended.stderr.splitlines()] == ["listen", "grace", "max-inputs"]


@pytest.mark.parametrize("content", [b"grace =", b'grace = "\xff"'], ids=["no-toml", "no-utf-8"])
def test_a_broken_file_is_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    """A configuration file that cannot be read is named, without a traceback."""
    file = tmp_path / "embedwire.toml"
    file.write_bytes(content)
    ended = run("config", "--config", str(file))

    assert ended.returncode == 2
    assert ended.stderr.startswith("embedwire-server: config: is not valid TOML: ")
    assert ended.stderr.count("\n") == 1


def test_the_configuration_is_shown_without_the_key() -> None:
    """`config` prints every setting; the key is masked."""
    ended = run("config", "--max-inputs", "7", TWELVELABS_API_KEY="tlk_CANARY")

    assert ended.returncode == 0
    assert "max-inputs = 7\n" in ended.stdout
    assert "api-key = **********" in ended.stdout
    assert "CANARY" not in ended.stdout


def test_the_sandbox_runs_alone() -> None:
    """`sandbox` serves the upstream's dialect under /v1.3 and ends with 0 on SIGTERM."""
    command = [sys.executable, "-m", "embedwire_server", "sandbox", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            base_url = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1\.3", base_url)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(f"{base_url}/embed", method="POST"), timeout=10)
            refused.value.close()
            assert refused.value.code == 401
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_the_demo_embeds_the_samples() -> None:
    """`make demo`'s script streams segments of all three modalities, shows metrics and ends with 0."""
    ended = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stderr
    for shown in (
        "text.txt, 1 segments",
        "picture.png, 1 segments",
        "melody.flac, 8 segments",
        "embedwire_inputs_total",
    ):
        assert shown in ended.stdout
