"""The server's commands: exit codes, output, signals."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.support.process import ServerProcess
from tests.support.server_command import run

DEMO = Path(__file__).parents[2] / "clients/python/examples/demo.py"


async def test_a_server_starts_answers_and_exits_with_0() -> None:
    """`serve` serves until SIGTERM and exits with 0; `health` reports both states."""
    async with ServerProcess.running() as server:
        assert (await asyncio.to_thread(run, "health", "--listen", server.target)).stdout == "SERVING\n"
        assert await server.terminate() == 0
        gone = await asyncio.to_thread(run, "health", "--listen", server.target)
    assert (gone.returncode, gone.stdout) == (1, "UNAVAILABLE\n")


def test_health_compares_no_settings_of_serve() -> None:
    """`health` asks a server on the port that metrics have by default, and reports that none answers."""
    ended = run("health", "--listen", "127.0.0.1:9464")
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, "UNAVAILABLE\n", "")


async def test_a_second_signal_ends_at_once() -> None:
    """A second signal ends a drain of a minute immediately."""
    async with ServerProcess.running(shutdown_delay=60) as server:
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            while not any("draining" in line for line in server.log):
                await asyncio.sleep(0.02)
        assert await server.terminate() == -signal.SIGTERM


def test_beyond_loopback_the_upstream_must_be_set() -> None:
    """On a non-loopback address, without a key and an upstream, a server does not start and names the settings."""
    ended = run("serve", "--listen", "0.0.0.0:0")

    assert ended.returncode == 2
    assert "TWELVELABS_API_KEY" in ended.stderr
    assert "--upstream" in ended.stderr


async def test_health_needs_no_upstream() -> None:
    """`health` needs the address only, also beside a server whose upstream is given as a flag."""
    async with ServerProcess.running() as server:
        target = server.target.replace("127.0.0.1", "0.0.0.0")
        probed = await asyncio.to_thread(run, "health", EMBEDWIRE_LISTEN=target)
    assert (probed.returncode, probed.stdout) == (0, "SERVING\n")


async def test_a_port_in_use_is_reported_in_one_line() -> None:
    """A server that cannot listen exits with 1 and one line, without a traceback."""
    async with ServerProcess.running() as server:
        words = ("serve", "--listen", server.target, "--metrics-listen", "127.0.0.1:0", "--upstream", "sandbox")
        ended = await asyncio.to_thread(run, *words)
        sandbox = await asyncio.to_thread(run, "sandbox", "--listen", server.target)
    lines = [line for line in ended.stderr.splitlines() if "[warning]" not in line]

    assert (ended.returncode, sandbox.returncode) == (1, 1)
    assert lines == [f"embedwire-server: cannot start: --listen {server.target}: Address already in use"]
    assert sandbox.stderr.splitlines() == lines


OUTPUTS = ("--help", "--version", "serve --help", "config show", "config check", "config reference", "token a")


@pytest.mark.parametrize("words", OUTPUTS)
def test_a_closed_or_full_standard_output(words: str) -> None:
    """A closed pipe ends a command like SIGPIPE, a full device with 1 and one line; a closed descriptor is ignored."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed, Path("/dev/full").open("wb") as full:
        ended = [run(*words.split(), stdout=file) for file in (closed, full)]
    shell = ["sh", "-c", '"$@" 2>/dev/null >&-', "sh", sys.executable, "-m", "embedwire_server", *words.split()]

    assert (ended[0].returncode, ended[0].stderr) == (141, "")
    assert ended[1].returncode == 1
    assert ended[1].stderr == "embedwire-server: standard output: No space left on device\n"
    assert subprocess.run(shell, timeout=60, check=False).returncode == 0


def test_arguments_that_are_not_settings() -> None:
    """The message names the argument and the allowed values."""
    sandbox, token = run("sandbox", "--listen", "foo"), run("token", "a", "b")

    assert (sandbox.returncode, token.returncode) == (2, 2)
    assert "argument --listen: must be HOST:PORT with a port from 0 to 65535" in sandbox.stderr
    assert token.stderr == "embedwire-server: b: unexpected argument: the command takes no more\n"


def test_both_programs_print_their_name_and_version() -> None:
    """`--version` prints the name of the program and the version."""
    assert re.fullmatch(r"embedwire-server \d+\.\d+\.\d+\n", run("--version").stdout)


def test_flags_of_other_commands_are_rejected() -> None:
    """`health` and `config reference` reject a flag of `serve`; without a subcommand, `config` lists its own."""
    health, reference, config = (
        run("health", "--workers", "2"),
        run("config", "reference", "--workers=2"),
        run("config", "--workers=2"),
    )

    assert [each.returncode for each in (health, reference, config)] == [2, 2, 2]
    assert health.stderr == reference.stderr == "embedwire-server: --workers: unknown flag of this command\n"
    assert "COMMAND" in config.stderr


def test_the_stand_alone_sandbox() -> None:
    """`sandbox` serves the upstream's API under /v1.3 and exits with 0 on SIGTERM."""
    command = [sys.executable, "-m", "embedwire_server", "sandbox", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            base_url = process.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1\.3", base_url)
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(f"{base_url}/embed", method="POST"), timeout=60)
            refused.value.close()
            assert refused.value.code == 401
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_flags_of_the_sandbox() -> None:
    """Flags of `sandbox` set its options; a wrong value is one line and exit code 2."""
    flags = "--disable-v1 --task-polls 0 --task-seconds 0.5 --task-expiry 60 --task-failure No. --asset-polls 2"
    command = [sys.executable, "-m", "embedwire_server", "sandbox", "--listen", "127.0.0.1:0", *flags.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            base_url = process.stdout.readline().strip()
            with pytest.raises(urllib.error.HTTPError) as unknown:
                urllib.request.urlopen(urllib.request.Request(f"{base_url}/embed", method="POST"), timeout=60)
            unknown.value.close()
            assert unknown.value.code == 404
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    for wrong in ("--task-polls=-1", "--asset-seconds=inf"):
        ended = run("sandbox", wrong)
        assert ended.returncode == 2
        assert "0 or more" in ended.stderr.splitlines()[-1]


def test_the_demo_embeds_the_samples() -> None:
    """The script of `make demo` streams segments of all three modalities, shows metrics and exits with 0."""
    ended = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stderr
    for shown in (
        "text.txt, 1 segment ",
        "picture.png, 1 segment ",
        "melody.flac, 8 segments",
        "embedwire_inputs_total",
    ):
        assert shown in ended.stdout
