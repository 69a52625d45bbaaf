"""The tests.

`unit` mirrors the packages of the server, `e2e` runs whole servers and clients, `conformance` has the cases that all
clients share, `system` the guarantees, `proxies` the proxies in front, and `image` the checks of the container image.
"""
