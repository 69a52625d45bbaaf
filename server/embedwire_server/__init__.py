"""The Embedwire server: gRPC in, the upstream's HTTP API out, segments streamed back as they are decoded."""

__version__ = "0.1.0"
