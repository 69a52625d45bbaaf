"""The server's commands: exit codes, output, signals."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from embedwire_server import cli
from tests.support.process import ServerProcess

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "clients/python/examples/demo.py"


def run(*words: str, stdout: IO[bytes] | int = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "embedwire_server", *words]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, env=environment, check=False
    )


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


def test_all_faults_of_the_settings_are_reported_at_once(tmp_path: Path) -> None:
    """Each fault is one line with its source, for all sources, including combinations of settings."""
    file = tmp_path / "embedwire.toml"
    file.write_text("[shutdown]\ngrace_perod = 1\n[request_limits]\nurl_chars = 0\n[[tokens]]\nname = 'a'\n")
    words = (
        "--listen",
        "nowhere",
        "--shutdown-grace-period",
        "-1",
        "--shutdown-grace",
        "3",
        "--tls-key",
        str(file),
        "--config",
        str(file),
    )
    ended = run("config", "check", *words, EMBEDWIRE_REQUEST_LIMITS_INPUTS="none", EMBEDWIRE_TOKENS="a")

    assert ended.returncode == 2
    assert sorted(line.removeprefix("embedwire-server: ") for line in ended.stderr.splitlines()) == sorted(
        [
            "--shutdown-grace: is not a flag; did you mean --shutdown-grace-period?",
            "EMBEDWIRE_TOKENS: can be set in the file only, as [[tokens]]",
            "--listen: must be HOST:PORT with a port from 0 to 65535, for instance 127.0.0.1:50051",
            "--shutdown-grace-period: Input should be greater than or equal to 0",
            "EMBEDWIRE_REQUEST_LIMITS_INPUTS: Input should be a valid integer, unable to parse string as an integer",
            f"{file}: request_limits.url_chars: Input should be greater than or equal to 1",
            f"{file}: shutdown.grace_perod: is not a setting; did you mean shutdown.grace_period?",
            f"{file}: tokens[0].sha256: Field required",
            "--tls-key: TLS needs both --tls-certificate and --tls-key",
        ]
    )


def test_valid_settings_are_reported() -> None:
    """`config check` prints OK if the settings are valid."""
    ended = run("config", "check", "--server-reflection", "false", "--insecure", "--log-level", "debug")

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "OK\n", "")


def test_an_unknown_variable_is_a_warning() -> None:
    """A variable similar to a setting may belong to other software: it is reported as a possible typo, and ignored."""
    ended = run(
        "config",
        "check",
        EMBEDWIRE_SHUTDOWN_GRASE_PERIOD="1",
        EMBEDWIRE_TARGET="a-client:1",
        EMBEDWIRE_PORT="tcp://10.0.0.1:1",
    )

    assert ended.returncode == 0
    assert ended.stderr.splitlines() == [
        "embedwire-server: warning: EMBEDWIRE_PORT: is not a setting, and is ignored",
        (
            "embedwire-server: warning: EMBEDWIRE_SHUTDOWN_GRASE_PERIOD: is not a setting, and is ignored; "
            "did you mean EMBEDWIRE_SHUTDOWN_GRACE_PERIOD?"
        ),
    ]


CONFLICTS = {
    "--listen 127.0.0.1:9464": "--listen: --listen and --metrics-listen must be different addresses",
    "--workers 64 --request-limits-message-bytes 999999999": (
        "divided by --workers (64) must be at least request_limits.message_bytes (999999999)"
    ),
    "--workers 9 --metrics-listen 127.0.0.1:65530": "65530 to 65538 exceed 65535: lower --workers or the port of",
    "extra": "extra: is not a flag: flags begin with --",
}


@pytest.mark.parametrize(("words", "message"), CONFLICTS.items(), ids=CONFLICTS)
def test_conflicting_settings_are_named(words: str, message: str) -> None:
    """The message names each setting of a conflict, whichever was set."""
    assert message in run("config", "check", *words.split()).stderr


def test_arguments_that_are_not_settings() -> None:
    """The message names the argument and the allowed values."""
    sandbox, token = run("sandbox", "--listen", "foo"), run("token", "a", "b")

    assert (sandbox.returncode, token.returncode) == (2, 2)
    assert "argument --listen: must be HOST:PORT with a port from 0 to 65535" in sandbox.stderr
    assert token.stderr == "embedwire-server: b: unexpected argument: the command takes no more\n"


def test_both_programs_print_their_name_and_version() -> None:
    """`--version` prints the name of the program and the version."""
    assert re.fullmatch(r"embedwire-server \d+\.\d+\.\d+\n", run("--version").stdout)


def test_abbreviated_flags_are_refused() -> None:
    """A new flag must not change the meaning of an abbreviation of another."""
    ended = run("config", "check", "--gra", "3")

    assert ended.returncode == 2
    assert ended.stderr.startswith("embedwire-server: --gra: is not a flag")


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


def test_the_reference_page_is_that_of_the_settings() -> None:
    """docs/configuration.md is the output of `config reference`."""
    ended = run("config", "reference")

    assert ended.returncode == 0
    assert ended.stdout in (REPOSITORY / "docs/configuration.md").read_text()


@pytest.mark.parametrize("content", [b"grace =", b'grace = "\xff"'], ids=["no-toml", "no-utf-8"])
def test_a_broken_file_is_reported_in_one_line(tmp_path: Path, content: bytes) -> None:
    """A configuration file that cannot be read is named, without a traceback."""
    file = tmp_path / "embedwire.toml"
    file.write_bytes(content)
    ended = run("config", "check", "--config", str(file))

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"embedwire-server: {file}: is not valid TOML: ")
    assert ended.stderr.count("\n") == 1


MISTAKES = {
    "a number of 5000 digits": ("x = " + "9" * 5000, "is not valid TOML: "),
    "a large file": ("# " + "x" * (4 << 20), "is larger than 4 MiB"),
    "an old name in a table": ("[server]\ngrace = 3\n", "server.grace: is grace_period in the table [shutdown] now"),
    "tokens that are no tables": ('tokens = "x"\n', "tokens: must be an array of tables: [[tokens]]"),
}


Faults = Callable[..., str]


@pytest.fixture
def faults(capsys: pytest.CaptureFixture[str]) -> Faults:
    """Run `config check` in this process with faulty settings; return what it prints about them."""

    def check(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(["config", "check", *words])
        assert ended.value.code == 2
        return capsys.readouterr().err

    return check


@pytest.mark.parametrize(("content", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_file_is_reported(tmp_path: Path, faults: Faults, content: str, message: str) -> None:
    """The exit code is 2, and the message names the file and the fault."""
    (tmp_path / "e.toml").write_text(content, "utf-8")
    printed = faults("--config", str(tmp_path / "e.toml"))
    assert f"{tmp_path / 'e.toml'}: " in printed
    assert message in printed


FLAGS = {
    "--api-key=s3cret": "is not a flag, since other users can see flags; set TWELVELABS_API_KEY",
    "--upstream-api-key=s3cret": "is not a flag, since other users can see flags; set TWELVELABS_API_KEY",
    "--server-listen=a:1": "is not a flag; it is --listen",
    "--workers-count=2": "is not a flag; it is --workers",
}


@pytest.mark.parametrize(("flag", "message"), FLAGS.items(), ids=FLAGS)
def test_a_flag_with_another_name_is_reported(faults: Faults, flag: str, message: str) -> None:
    """The message says where the setting is set."""
    assert faults(flag) == f"embedwire-server: {flag.partition('=')[0]}: {message}\n"


@pytest.mark.parametrize("flag", ["--config", "--uploads-spool-dir", "--tls-client-ca", "--upstream-ca"])
@pytest.mark.parametrize("path", ["a" * 300, "a/" * 3000, "/nowhere/at/all"], ids=["long name", "long path", "missing"])
def test_a_path_that_cannot_be_read_is_reported(faults: Faults, flag: str, path: str) -> None:
    """The message names the setting and the path."""
    assert f"{flag}: {path.rstrip('/')} " in faults(flag, path)


def test_the_configuration_is_shown_without_secrets(tmp_path: Path) -> None:
    """`config show` prints every setting as TOML, with its source; key and hashes are masked."""
    file = tmp_path / "embedwire.toml"
    file.write_text(f"""
        shutdown.grace_period = 5
        [[tokens]]
        name = "search"
        sha256 = "{"a1" * 32}"
        modalities = ["text"]
        [[models]]
        name = "mine"
        dimensions = 4
        audio = {{max_bytes = 9}}
    """)
    words = ("config", "show", "--request-limits-inputs", "7", "--config", str(file))
    ended = run(*words, TWELVELABS_API_KEY="tlk_CANARY", EMBEDWIRE_UPSTREAM="http://u")
    shown = tomllib.loads(ended.stdout)

    assert ended.returncode == 0
    assert "inputs = 7  # --request-limits-inputs\n" in ended.stdout
    assert 'url = "http://u"  # EMBEDWIRE_UPSTREAM\n' in ended.stdout
    assert f'grace_period = "5s"  # {file}\n' in ended.stdout
    assert 'listen = "127.0.0.1:50051"  # default\n' in ended.stdout
    assert shown["upstream"]["api_key"] == "**********"
    assert shown["tokens"] == [{"name": "search", "sha256": ["**********"], "modalities": ["text"]}]
    assert shown["models"][0]["audio"]["max_bytes"] == 9
    assert "CANARY" not in ended.stdout
    assert "a1a1" not in ended.stdout


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
