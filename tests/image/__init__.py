"""The container image, built and looked at from outside: `make image-test`.

engine      buildah and podman with a store of their own, so that nothing else on the machine sees what is made here
base        the image that the Dockerfile starts from: pulled, or made of Debian's packages where no registry answers
container   a container that runs, and what the kernel says of it
stage       what a check is given: the image, containers of it, an upstream beside them

The other modules are families of checks: `contents` of the image, the `cage` it runs in, `calls` from outside, and its
`life` from start to stop. A check is a function with `@check`; `python -m tests.image --list` names them all.
"""
