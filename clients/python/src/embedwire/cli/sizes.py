"""Sizes in the output of commands."""


def show(count: int) -> str:
    """Return a number of bytes with a binary unit."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1 << 10:
            return f"{size:.4g} {unit}"
        size /= 1 << 10
    return f"{size:.4g} GiB"
