"""The command line: serve, sandbox, health, config."""

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
import tomllib
from collections.abc import AsyncGenerator
from typing import Any

import pydantic
import uvloop

from embedwire_server import __version__, logs
from embedwire_server.rpc import health
from embedwire_server.settings import Settings, parse_address

NOT_FLAGS = {"api_key", "models"}
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
GARBAGE_OBJECTS = 5_000  # new ones until the collector looks through them; nearly all go without it


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

    settings = _settings(arguments)
    logs.configure(settings.log_level, settings.log_format)
    return _run(App(settings))


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
    status = health.probe(_settings(arguments).listen)
    print(status)  # noqa: T201 - what the command is for
    return 0 if status == "SERVING" else 1


def _run(service: contextlib.AbstractAsyncContextManager[object]) -> int:
    """Run until SIGTERM or SIGINT, then leave the service in good order; a second signal ends it at once."""

    async def until_signal() -> int:
        stop = _stop_event()
        async with contextlib.AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(service)
            except (OSError, RuntimeError) as error:  # a port in use, a missing extra
                print(f"embedwire-server: cannot start: {error}", file=sys.stderr)  # noqa: T201 - for a person
                return 1
            _settle()
            await stop.wait()
        return 0

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(until_signal())


def _settle() -> None:
    """Spare the calls work that is not theirs: about a tenth of what one costs."""
    gc.freeze()  # what is alive now stays; to look through it again and again held up all calls for 30 ms
    gc.set_threshold(GARBAGE_OBJECTS, *gc.get_threshold()[1:])
    sys.set_asyncgen_hooks(
        firstiter=None
    )  # a list of the running ones, to close them at the end: all are closed by then


def _stop_event() -> asyncio.Event:
    """Set by the first signal, which also gives the signals back their own effect."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        stop.set()
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    return stop


if __name__ == "__main__":
    sys.exit(main())
