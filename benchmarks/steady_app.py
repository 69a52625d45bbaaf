"""The gateway without gRPC's BDP probe, which enlarges the receive window of a fast connection by many MiB.

python -m benchmarks.steady_app serve --upstream URL ...

How far it does depends on timing, so the memory of the gateway itself cannot be seen beside it.
"""

from benchmarks import entry
from embedwire_server.app import App
from embedwire_server.rpc import server
from embedwire_server.rpc.server_options import ServerOptions, channel_arguments


def without_probe(options: ServerOptions) -> tuple[tuple[str, int], ...]:
    """Return the channel arguments of the server, with the probe switched off."""
    return (*channel_arguments(options), ("grpc.http2.bdp_probe", 0))


if __name__ == "__main__":
    server.channel_arguments = without_probe
    entry.serve(App)
