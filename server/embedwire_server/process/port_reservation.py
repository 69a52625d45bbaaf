"""Reserves the port that the workers share, so that no other process gets it."""

import socket

from embedwire_server.core.address import Address


def reserve_port(address: Address) -> socket.socket:
    """Reserve a port for the workers, and for no other process; port 0 takes a free one.

    The socket does not listen, so it gets no connections. It is bound before it allows sharing: binding fails if any
    other process has the port, also one that shares it, and no second supervisor can take it in between.

    Raises:
        OSError: the port is in use.
    """
    try:
        try:
            held = _bound(address)
        except OSError:  # connections in TIME_WAIT of an earlier server suffice, for a minute
            held = _bound(address, socket.SO_REUSEADDR)
    except OSError as error:
        raise OSError(error.errno, f"--listen {address}: {error.strerror}") from error
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return held


def _bound(address: Address, *options: int) -> socket.socket:
    held = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    try:
        for option in options:
            held.setsockopt(socket.SOL_SOCKET, option, 1)
        held.bind((address.host, address.port))
    except OSError:
        held.close()
        raise
    return held
