"""Check that a port is free before gRPC binds it: gRPC prints a line of its own about one in use."""

import socket

from embedwire_server.core.address import Address


def check_port(flag: str, address: Address) -> None:
    """Check that a server can listen on an address.

    Args:
        flag: the flag of the setting, for the message.
        address: the address. A host name must have one address that can be bound, as for gRPC.

    Raises:
        OSError: it cannot; the message names the flag and the address.
    """
    failure = OSError(0, "has no address")
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, place in found:
            try:
                with socket.socket(family, kind, protocol) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(place)
            except OSError as error:
                failure = error
            else:
                return
    except OSError as error:  # of the name resolution
        failure = error
    raise OSError(failure.errno, f"{flag} {address}: {failure.strerror}") from failure
