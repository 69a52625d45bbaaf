"""The server behind nginx, HAProxy and Envoy, with the configurations of `deploy/proxies`: `make test-proxies`.

The proxies are the real ones, so this package needs more than `make test` sets up, and is not part of it.
"""
