"""Entry point of the command: `embedwire-server`, and `python -m embedwire_server`."""

import signal
import sys


def main() -> int:
    """Run the command line and return the exit code; see `cli.main`."""
    if sys.argv[1:2] == ["serve"]:
        # Until the configuration can be reloaded. The import of the command line takes long enough for a signal.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from embedwire_server import cli  # noqa: PLC0415 - after the signal is ignored

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
