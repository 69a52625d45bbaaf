# The server in an image: `docker build --tag embedwire .`. How to run it is in docs/deployment.md.
#
# Any image with Python 3.11 to 3.13 and its venv module will do as a base, Debian's own too. Both stages need
# the same one, since the environment links to its interpreter. For a reproducible base, set its
# digest: --build-arg BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm@sha256:...
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS builder
# pip and the build backend have an environment of their own, so that they do not get into the one that is copied.
WORKDIR /src
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python3 -m venv /opt/pip \
    && /opt/pip/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        --requirement requirements/build.txt \
    && python3 -m venv --without-pip /opt/embedwire \
    && /opt/pip/bin/python -m pip --python /opt/embedwire/bin/python install --no-cache-dir --no-compile \
        --require-hashes --requirement requirements/runtime.txt
COPY . .
# With the extras `otel` and `redis`, since nothing can be added to the image; they are not loaded unless a variable of
# OpenTelemetry asks for traces, or a setting has the URL of Redis. With the sandbox, to try the image without a key. It
# is a tenth of the image, and on a non-loopback address it is used only if EMBEDWIRE_UPSTREAM names it. Bytecode is
# compiled here, since a read-only container could not keep it, and is not compared with sources that never change. The
# tests of the libraries are removed, which are another tenth, and the sources, headers and stubs of their extensions.
RUN /opt/pip/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels ./clients/python . \
    && /opt/pip/bin/python -m pip --python /opt/embedwire/bin/python install --no-cache-dir --no-compile --no-deps \
        /wheels/*.whl \
    && find /opt/embedwire/lib -type d -name tests -prune -exec rm -rf {} + \
    && find /opt/embedwire/lib -type f -regex '.*\.\(a\|c\|cpp\|h\|pxd\|pyi\|pyx\)' -delete \
    && /opt/embedwire/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/embedwire/lib

FROM ${BASE_IMAGE}
COPY --from=builder /opt/embedwire /opt/embedwire
# Nothing here installs software any more, and no program gains rights. The import compiles what the server needs
# of the standard library, which some base images ship without bytecode.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip \
        /usr/lib/python3*/ensurepip /usr/share/python-wheels \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && /opt/embedwire/bin/python -c 'import embedwire_sandbox, embedwire_server.cli, embedwire_server.process.supervisor' \
    && install -d -o 65532 -g 0 -m 0770 /var/spool/embedwire

# Non-loopback addresses, so that clients can connect. The server then starts only with an upstream, and with TLS, tokens, or
# EMBEDWIRE_INSECURE. Probes have a port of their own, since they do not speak TLS.
ENV PATH=/opt/embedwire/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    EMBEDWIRE_LISTEN=0.0.0.0:50051 \
    EMBEDWIRE_METRICS_LISTEN=0.0.0.0:9464 \
    EMBEDWIRE_HEALTH_LISTEN=0.0.0.0:50052 \
    EMBEDWIRE_UPLOADS_SPOOL_DIR=/var/spool/embedwire
VOLUME /var/spool/embedwire
EXPOSE 50051 50052 9464
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["embedwire-server", "health"]
ENTRYPOINT ["embedwire-server"]
CMD ["serve"]

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="embedwire" \
      org.opencontainers.image.description="A gRPC service that turns text, images and audio into embeddings" \
      org.opencontainers.image.source="https://github.com/embedwire/embedwire" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
