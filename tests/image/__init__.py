"""The container image, built and tested from outside: `make image-test`.

engine      buildah and podman with a separate store
base        the base image of the Dockerfile: pulled, or made of Debian packages if no registry answers
container   a running container, and its state in the kernel
stage       the environment of a check: the image, containers of it, an upstream

The other modules are families of checks: `contents`, `cage` (restrictions at run time), `calls` from outside, and
`life`, from start to stop. A check is a function with `@check`; `python -m tests.image --list` names them all.
"""
