"""The command `embedwire`, also `python -m embedwire`. It needs the extra `embedwire[cli]`."""

import sys

_EXTRA = ("matplotlib", "numpy", "rich", "typer")


def main() -> int:
    """Run the command, or say in one line what is missing.

    Returns:
        The exit code, where nothing has ended the process before.
    """
    try:
        from embedwire.cli.app import app  # noqa: PLC0415 - needs the extra

        app(prog_name="embedwire")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write("embedwire: the command needs more packages: pip install 'embedwire[cli]'\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
