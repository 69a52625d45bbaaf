"""The command `embedwire`, also `python -m embedwire`. It needs the extra `embedwire[cli]`, and to plot `[plot]`."""

import os
import sys

_EXTRAS = {"numpy": "cli", "rich": "cli", "typer": "cli", "matplotlib": "plot"}
_INTERRUPTED = 130
_CLOSED = 141


def main() -> int:
    """Run the command; print one line if the extra is not installed.

    Returns:
        The exit code, unless SystemExit is raised.
    """
    for name in ("stdout", "stderr"):  # None if the shell closed it
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - open until exit
    try:
        from embedwire.cli.app import app  # noqa: PLC0415 - needs the extra

        app(prog_name="embedwire")
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        sys.stderr.write(f"embedwire: the command needs more packages, those of the extra embedwire[{extra}]\n")
        return 2
    except KeyboardInterrupt:  # before the command starts
        sys.stderr.write("error: interrupted\n")
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
