"""The settings of the server's commands: how faults are reported, and how settings are shown."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from embedwire_server import cli
from tests.support.server_command import run

REFERENCE = Path(__file__).parents[2] / "docs/configuration.md"


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


def test_abbreviated_flags_are_refused() -> None:
    """A new flag must not change the meaning of an abbreviation of another."""
    ended = run("config", "check", "--gra", "3")

    assert ended.returncode == 2
    assert ended.stderr.startswith("embedwire-server: --gra: is not a flag")


def test_the_reference_page_is_that_of_the_settings() -> None:
    """docs/configuration.md is the output of `config reference`."""
    ended = run("config", "reference")

    assert ended.returncode == 0
    assert ended.stdout in REFERENCE.read_text()


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
    assert shown["tokens"] == [
        {"name": "search", "sha256": ["**********"], "modalities": ["text"], "upstream_ids": False}
    ]
    assert shown["models"][0]["audio"]["max_bytes"] == 9
    assert "CANARY" not in ended.stdout
    assert "a1a1" not in ended.stdout
