"""Command-line interface: serve, config, token, health, sandbox."""

import argparse
import contextlib
import functools
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from embedwire_server import __version__
from embedwire_server.auth import tokens
from embedwire_server.config import render, sources
from embedwire_server.config.errors import InvalidConfiguration
from embedwire_server.config.fields import duration_text
from embedwire_server.config.file_watcher import FileWatcher
from embedwire_server.config.setting_table import ALL, API_KEY, FILE_ONLY
from embedwire_server.config.settings import SANDBOX, Settings
from embedwire_server.config.sources import Configuration
from embedwire_server.core.address import Address, parse_address
from embedwire_server.observability import logs, standard_error
from embedwire_server.process import gc_tuning, runner

if TYPE_CHECKING:
    from embedwire_server.app import App
    from embedwire_server.process.supervisor import Supervisor

_NOT_FLAGS = {API_KEY, *FILE_ONLY}
_NOT_SETTINGS = {"run", "what", "unknown"}
_FAULTS_FOR_ALL = (
    "beyond loopback, every machine that reaches the sandbox can script its faults, and make it fetch URLs of this "
    "machine's loopback addresses: listen on 127.0.0.1, or let a firewall keep others out"
)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 success, 1 not started or not healthy, 2 invalid settings."""
    standard_error.reserve()
    arguments, unknown = _parser().parse_known_args(argv)
    # Names only: a value may be a secret.
    arguments.unknown = [word.partition("=")[0] for word in unknown if word.startswith("-")] or unknown
    return int(arguments.run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="embedwire-server", description="Embeddings over gRPC.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.set_defaults(run=run)
        return command

    _add_settings(
        add(
            "serve",
            _serve,
            "serve gRPC until SIGTERM or SIGINT; SIGHUP reloads the configuration, as a change of its file does",
        )
    )
    config = add("config", _config, "check the settings, or show them with their sources, secrets masked")
    config.add_argument("what", nargs="?", choices=("show", "check", "reference"), default="show")
    _add_settings(config)
    token = add("token", _token, "generate a bearer token and its entry for the configuration file")
    token.add_argument("what", metavar="NAME", help="name of the client in metrics and logs")
    _add_settings(
        add(
            "health",
            _health,
            "check the health of the server at --health-listen, or --listen; exit code 0 if ready, else 1",
        )
    )
    sandbox = add("sandbox", _sandbox, "serve the sandbox upstream alone, for tests against it; its base path is /v1.3")
    sandbox.add_argument("--listen", type=_address, default="127.0.0.1:8400", help="address (%(default)s)")
    return parser


def _address(text: str) -> Address:
    return parse_address(text.strip())


def _add_settings(command: argparse.ArgumentParser) -> None:
    """Add one flag for each setting; pydantic checks the values, so that all faults are found at once."""
    for name, setting in ALL.items():
        if name not in _NOT_FLAGS:
            default = setting.field.default
            shown = duration_text(default) if setting.is_duration and default is not None else default
            text = (setting.field.description or "") + ("" if shown is None else f" ({shown})")
            options: dict[str, Any] = {
                "default": argparse.SUPPRESS,
                "help": text.replace("%", "%%"),
                "metavar": "VALUE",
                "dest": name,
            }
            if setting.field.annotation is bool:
                command.add_argument(setting.flag, nargs="?", const="true", **options)
            else:
                command.add_argument(setting.flag, **options)


def _flags(arguments: argparse.Namespace) -> dict[str, str]:
    return {name: value for name, value in vars(arguments).items() if name not in _NOT_SETTINGS}


def _load(arguments: argparse.Namespace) -> Configuration:
    return sources.load(_flags(arguments), arguments.unknown)


def _loaded(arguments: argparse.Namespace) -> Configuration:
    """Return the configuration, and print its warnings; end the process if it is invalid."""
    found = _valid(arguments)
    _warn(found)
    return found


def _valid(arguments: argparse.Namespace) -> Configuration:
    try:
        return _load(arguments)
    except InvalidConfiguration as error:
        _print_lines(*map(str, error.faults))
        raise SystemExit(2) from None


def _warn(found: Configuration) -> None:
    _print_lines(*(f"warning: {warning}" for warning in found.warnings))


def _reject_unknown(arguments: argparse.Namespace) -> None:
    if arguments.unknown:
        _print_lines(*(f"{word}: unknown flag of this command" for word in arguments.unknown))
        raise SystemExit(2)


def _print_lines(*lines: str) -> None:
    for line in lines:
        print(f"embedwire-server: {line}", file=sys.stderr)  # noqa: T201 - for a person


def _serve(arguments: argparse.Namespace) -> int:
    from embedwire_server.config.reload import Reloading  # noqa: PLC0415
    from embedwire_server.observability import resource_monitor  # noqa: PLC0415 - only for this command

    gc_tuning.raise_gc_threshold()  # before most modules are loaded
    path = sources.config_file(_flags(arguments))
    watcher = None if path is None else FileWatcher(path)  # before it is read, so that no change is missed
    found = _valid(arguments)
    settings = found.settings
    logs.configure(settings.log.level, settings.log.format)
    _warn(found)  # standard error is the log now
    resource_monitor.require_files(settings.concurrency.inputs_per_modality)
    server = _server(settings)
    return _run(server, reload=Reloading(server, settings, functools.partial(_load, arguments)), config=watcher)


def _server(settings: Settings) -> "App | Supervisor":
    """Return the server in one process, or a supervisor of several, which a single process does not import."""
    if not settings.workers.have_supervisor:
        from embedwire_server.app import App  # noqa: PLC0415

        return App(settings)
    from embedwire_server.process.supervisor import Supervisor  # noqa: PLC0415

    return Supervisor(settings)


def _sandbox(arguments: argparse.Namespace) -> int:
    from embedwire_server.upstreams.sandbox import sandbox  # noqa: PLC0415 - only for this command

    @contextlib.asynccontextmanager
    async def serving() -> AsyncGenerator[None]:
        async with sandbox(arguments.listen.host, arguments.listen.port, fault_control=True) as base_url:
            print(base_url, flush=True)  # noqa: T201 - what a script that starts it waits for
            yield

    _reject_unknown(arguments)
    if not arguments.listen.is_loopback:
        _print_lines(f"warning: --listen: {_FAULTS_FOR_ALL}")
    logs.configure("info", "text")
    return _run(serving())


def _config(arguments: argparse.Namespace) -> int:
    if arguments.what == "reference":
        _reject_unknown(arguments)
        lines = render.reference()
    else:
        found = _loaded(arguments)
        lines = render.shown(found) if arguments.what == "show" else iter(())
    for line in lines:
        print(line)  # noqa: T201 - what the command is for
    return 0


def _token(arguments: argparse.Namespace) -> int:
    _reject_unknown(arguments)
    try:
        token, digest = tokens.new_token()
        tokens.Authenticator([tokens.Token(arguments.what, (digest,))])
    except ValueError as error:
        _print_lines(f"NAME: {error}")
        return 2
    print(token)  # noqa: T201 - what the command is for
    # On standard error, so that `2>> embedwire.toml` puts the entry into the file, and the token into no file.
    entry = f'[[tokens]]\nname = "{arguments.what}"\nsha256 = "{digest}"'
    print(f"# The configuration contains the hash only. The token is not shown again.\n{entry}", file=sys.stderr)  # noqa: T201 - the same
    return 0


def _health(arguments: argparse.Namespace) -> int:
    from embedwire_server.rpc import health  # noqa: PLC0415 - it loads gRPC

    # Placeholders for settings that only `serve` needs: a probe may not have its flags.
    asked = argparse.Namespace(**vars(arguments) | {"upstream": SANDBOX, "insecure": "true"})
    settings = _valid(asked).settings
    if settings.tls.files is not None and settings.health.listen is None:
        _print_lines("--health-listen: set it for the server and here; probes do not speak TLS")
        return 2
    status = health.probe(settings.health.listen or settings.server.listen)
    print(status)  # noqa: T201 - what the command is for
    return 0 if status == "SERVING" else 1


def _run(
    service: contextlib.AbstractAsyncContextManager[object],
    reload: Callable[[], Awaitable[None]] | None = None,
    config: FileWatcher | None = None,
) -> int:
    try:
        runner.run(service, reload=reload, config=config)
    except runner.StartupError as error:
        logs.flush()  # the lines of gRPC core about it come first
        _print_lines(f"cannot start: {error}")
        return 1
    return 0
