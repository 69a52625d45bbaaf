"""The tests.

`unit` mirrors the packages of the server, `e2e` runs whole servers and clients, `conformance` has the cases that all
clients share, `system` the guarantees, and `image` the checks of the container image.
"""
