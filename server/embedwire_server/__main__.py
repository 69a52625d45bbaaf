"""The command line: serve, sandbox, health, config."""

import argparse
import contextlib
import sys
import tomllib
from collections.abc import AsyncGenerator
from typing import Any

import pydantic

from embedwire_server import __version__, lifetime, logs
from embedwire_server.rpc import health
from embedwire_server.settings import SANDBOX, Settings, parse_address

NOT_FLAGS = {"api_key", "models"}


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0 good, 1 not started or not healthy, 2 wrong settings."""
    arguments = _parser().parse_args(argv)
    return int(arguments.run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="embedwire-server", description="Embeddings over gRPC.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, run, text in (
        ("serve", _serve, "serve gRPC until SIGTERM or SIGINT"),
        ("config", _config, "check the settings and print them, secrets masked"),
        ("health", _health, "ask the server at --listen whether it is ready; 0 if so, else 1"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        _add_settings(command)
    text = "serve the sandbox upstream alone, for tests against it; its base path is /v1.3"
    sandbox = commands.add_parser("sandbox", help=text, description=text)
    sandbox.set_defaults(run=_sandbox)
    sandbox.add_argument("--listen", type=parse_address, default="127.0.0.1:8400", help="address (%(default)s)")
    return parser


def _add_settings(command: argparse.ArgumentParser) -> None:
    """One flag for each setting; pydantic checks the values, so that all faults are found at once."""
    for name, field in Settings.model_fields.items():
        if name not in NOT_FLAGS:
            text = (field.description or "") + ("" if field.default is None else f" ({field.default})")
            switch: dict[str, Any] = {"nargs": "?", "const": "true"} if field.annotation is bool else {}
            command.add_argument(
                f"--{name.replace('_', '-')}",
                default=argparse.SUPPRESS,
                help=text.replace("%", "%%"),
                metavar="VALUE",
                **switch,
            )


def _settings(arguments: argparse.Namespace) -> Settings:
    try:
        return Settings(**{name: value for name, value in vars(arguments).items() if name != "run"})
    except pydantic.ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False, include_context=False):
            place = ".".join(str(part) for part in fault["loc"]).replace("_", "-")
            print(f"embedwire-server: {place + ': ' if place else ''}{fault['msg']}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        print(f"embedwire-server: config: is not valid TOML: {error}", file=sys.stderr)  # noqa: T201 - for a person
        raise SystemExit(2) from None


def _serve(arguments: argparse.Namespace) -> int:
    from embedwire_server.app import App  # noqa: PLC0415 - a probe need not load the whole server
    from embedwire_server.supervisor import Supervisor  # noqa: PLC0415 - the same

    settings = _settings(arguments)
    logs.configure(settings.log_level, settings.log_format)
    return _run(App(settings) if settings.workers == 1 else Supervisor(settings))


def _sandbox(arguments: argparse.Namespace) -> int:
    from embedwire_server.sandbox import Sandbox  # noqa: PLC0415 - an extra

    @contextlib.asynccontextmanager
    async def serving() -> AsyncGenerator[None]:
        sandbox = Sandbox()
        await sandbox.start(arguments.listen.host, arguments.listen.port)
        print(sandbox.base_url, flush=True)  # noqa: T201 - what a script that starts it waits for
        try:
            yield
        finally:
            await sandbox.stop()

    logs.configure("info", "text")
    return _run(serving())


def _config(arguments: argparse.Namespace) -> int:
    for name, value in _settings(arguments):
        print(f"{name.replace('_', '-')} = {value}")  # noqa: T201 - what the command is for
    return 0


def _health(arguments: argparse.Namespace) -> int:
    asked = argparse.Namespace(**vars(arguments) | {"upstream": SANDBOX})  # the server's own may be a flag of `serve`
    status = health.probe(_settings(asked).listen)
    print(status)  # noqa: T201 - what the command is for
    return 0 if status == "SERVING" else 1


def _run(service: contextlib.AbstractAsyncContextManager[object]) -> int:
    try:
        lifetime.run(service)
    except lifetime.NotStarted as error:
        print(f"embedwire-server: cannot start: {error}", file=sys.stderr)  # noqa: T201 - for a person
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
