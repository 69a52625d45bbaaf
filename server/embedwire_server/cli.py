"""Command-line interface: serve, config, token, health, sandbox."""

import argparse
import contextlib
import functools
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from embedwire_server import __version__
from embedwire_server.auth import tokens
from embedwire_server.config import flags, render, sandbox_flags, sources
from embedwire_server.config.errors import InvalidConfiguration
from embedwire_server.config.file_watcher import FileWatcher
from embedwire_server.config.setting_table import ALL
from embedwire_server.config.settings import SANDBOX, Settings
from embedwire_server.config.sources import Configuration
from embedwire_server.core.address import Address, parse_address
from embedwire_server.observability import logs, standard_error
from embedwire_server.process import gc_tuning, runner

if TYPE_CHECKING:
    from embedwire_server.app import App
    from embedwire_server.process.supervisor import Supervisor

_OF_HEALTH = ("config", "listen", "health_listen", "tls_certificate", "tls_key")
_RELOADS = "SIGHUP, or a change of the file of --config, reloads the settings that the reference marks as reloaded."
_HEALTH = (
    "The address is that of --health-listen, or else of --listen. The exit code is 0 if the server is ready, else 1."
)
_CLOSED = 141  # as of SIGPIPE
_FAULTS_FOR_ALL = (
    "on a non-loopback address, every client that reaches the sandbox can script its faults, and make it fetch URLs of "
    "this machine's loopback addresses: listen on 127.0.0.1, or restrict access by a firewall"
)


class _Parser(argparse.ArgumentParser):
    """Parser whose help ends the process if it cannot be written; argparse ignores that."""

    def print_help(self, file: Any = None) -> None:  # noqa: ANN401 - argparse's types are private
        if file is None:
            _print_result(self.format_help().rstrip("\n"))
        else:
            super().print_help(file)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0 success, 1 not started, not healthy or no output possible, 2 invalid settings, 141 output closed by its reader.
    """
    standard_error.reserve()
    try:
        arguments, unknown = _parser().parse_known_args(argv)
        # Names only: a value may be a secret.
        arguments.unknown = [word.partition("=")[0] for word in unknown if word.startswith("-")] or unknown
        return int(arguments.run(arguments))
    finally:
        _print_result()  # write what argparse has printed


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="embedwire-server", description="Embeddings over gRPC.", allow_abbrev=False)
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {__version__}", help="show the version and exit"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    serve = _add(
        commands, "serve", "serve gRPC until SIGTERM or SIGINT", _RELOADS, "[OPTIONS]", epilog=flags.OTHER_SOURCES
    )
    serve.set_defaults(run=_serve)
    flags.add_all(serve)
    _add_config(_add(commands, "config", "check or show the settings"))
    token = _add(commands, "token", "generate a bearer token and its entry for the configuration file")
    token.set_defaults(run=_token)
    token.add_argument("name", metavar="NAME", help="name of the client in metrics and logs")
    health = _add(
        commands, "health", "check the readiness of a server", _HEALTH, "[OPTIONS]", epilog=flags.OTHER_SOURCES
    )
    health.set_defaults(run=_health)
    for name in _OF_HEALTH:
        flags.add(health, ALL[name])
    sandbox = _add(commands, "sandbox", "serve the sandbox upstream alone, for tests", "Its base path is /v1.3.")
    sandbox.set_defaults(run=_sandbox)
    shown = {"metavar": "HOST:PORT", "help": "address of the sandbox (default: %(default)s)"}
    sandbox.add_argument("--listen", type=_address, default="127.0.0.1:8400", **shown)
    sandbox_flags.add_all(sandbox)
    return parser


def _add(commands: Any, name: str, text: str, more: str = "", usage: str = "", **options: Any) -> Any:  # noqa: ANN401 - argparse's types are private
    """Add a command and return its parser."""
    description = f"{text[0].upper()}{text[1:]}. {more}".strip()
    if usage:
        options["usage"] = f"%(prog)s {usage}"
    return commands.add_parser(name, help=text, description=description, allow_abbrev=False, **options)


def _add_config(config: argparse.ArgumentParser) -> None:
    commands = config.add_subparsers(title="commands", required=True, metavar="COMMAND [SETTINGS]")
    for name, run, text in (
        ("show", _config_show, "print the settings as TOML, each with its source, secrets masked"),
        ("check", _config_check, "check the settings and print OK, or one line for each error"),
    ):
        command = _add(
            commands, name, text, usage="[SETTINGS]", epilog=f"SETTINGS: any flag of serve. {flags.OTHER_SOURCES}"
        )
        command.set_defaults(run=run)
        flags.add_all(command, is_hidden=True)
    reference = _add(commands, "reference", "print the reference table of all settings in Markdown")
    reference.set_defaults(run=_config_reference)


def _address(text: str) -> Address:
    try:
        return parse_address(text.strip())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None  # argparse prints no other message


def _load(arguments: argparse.Namespace) -> Configuration:
    return sources.load(flags.values(arguments), arguments.unknown)


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
        faults = {True: "unknown flag of this command", False: "unexpected argument: the command takes no more"}
        _print_lines(*(f"{word}: {faults[word.startswith('-')]}" for word in arguments.unknown))
        raise SystemExit(2)


def _print_lines(*lines: str) -> None:
    for line in lines:
        print(f"embedwire-server: {line}", file=sys.stderr)  # noqa: T201 - a message


def _print_result(*lines: str) -> None:
    """Print the result of a command to standard output; end the process if that cannot be written."""
    try:
        for line in lines:
            print(line)  # noqa: T201 - the result of a command
        if sys.stdout is not None:  # None if it was closed before the start
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would write the rest at exit
        if isinstance(error, BrokenPipeError):
            raise SystemExit(_CLOSED) from None
        _print_lines(f"standard output: {error.strerror}")
        raise SystemExit(1) from None


def _serve(arguments: argparse.Namespace) -> int:
    from embedwire_server.config.reload import Reloading  # noqa: PLC0415
    from embedwire_server.observability import resource_monitor  # noqa: PLC0415 - only for this command

    gc_tuning.raise_gc_threshold()  # before most modules are loaded
    path = sources.config_file(flags.values(arguments))
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
    from embedwire_server.rpc.port_check import check_port  # noqa: PLC0415 - only for this command
    from embedwire_server.upstreams.sandbox import sandbox  # noqa: PLC0415 - the same

    @contextlib.asynccontextmanager
    async def serving() -> AsyncGenerator[None]:
        listen, options = arguments.listen, sandbox_flags.values(arguments)
        check_port("--listen", listen)
        async with sandbox(listen.host, listen.port, fault_control=True, **options) as base_url:
            _print_result(base_url)  # a script that starts it waits for this line
            yield

    _reject_unknown(arguments)
    if not arguments.listen.is_loopback:
        _print_lines(f"warning: --listen: {_FAULTS_FOR_ALL}")
    logs.configure("info", "text")
    return _run(serving())


def _config_show(arguments: argparse.Namespace) -> int:
    _print_result(*render.shown(_loaded(arguments)))
    return 0


def _config_check(arguments: argparse.Namespace) -> int:
    _loaded(arguments)
    _print_result("OK")
    return 0


def _config_reference(arguments: argparse.Namespace) -> int:
    _reject_unknown(arguments)
    _print_result(*render.reference())
    return 0


def _token(arguments: argparse.Namespace) -> int:
    _reject_unknown(arguments)
    try:
        token, digest = tokens.new_token()
        tokens.Authenticator([tokens.Token(arguments.name, (digest,))])
    except ValueError as error:
        _print_lines(f"NAME: {error}")
        return 2
    _print_result(token)
    # On standard error, so that `2>> embedwire.toml` puts the entry into the file, and the token into no file.
    entry = f'[[tokens]]\nname = "{arguments.name}"\nsha256 = "{digest}"'
    print(f"# The configuration contains the hash only. The token is not shown again.\n{entry}", file=sys.stderr)  # noqa: T201 - the same
    return 0


def _health(arguments: argparse.Namespace) -> int:
    from embedwire_server.rpc import health  # noqa: PLC0415 - it loads gRPC

    _reject_unknown(arguments)
    # Placeholders for settings that only `serve` needs: a probe does not have its flags.
    unused = {"upstream": SANDBOX, "insecure": "true", "metrics_listen": "127.0.0.1:0"}
    asked = argparse.Namespace(**vars(arguments) | unused)
    settings = _valid(asked).settings
    if settings.tls.files is not None and settings.health.listen is None:
        _print_lines("--health-listen: set it for the server and here; probes do not speak TLS")
        return 2
    status = health.probe(settings.health.listen or settings.server.listen)
    _print_result(status)
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
