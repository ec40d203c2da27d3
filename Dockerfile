# One image for every box: the kernels choose their instruction set when they start. Nothing below names a processor,
# so that amd64 and arm64 come from the same file: docker buildx build --platform linux/amd64,linux/arm64 .
ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BASE_IMAGE} AS build
# Debian replaces a package by its security update and drops the old one: a pinned version stops the build, not the bug.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates g++ python3 python3-dev python3-venv \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
WORKDIR /source
COPY . .
ENV PIP_CONSTRAINT=/source/constraints.txt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /build \
 && /build/bin/pip wheel --quiet --no-deps --wheel-dir /wheels .
# No pip in what is shipped: the environment is filled from outside.
RUN python3 -m venv --without-pip /opt/onebit \
 && set -- /wheels/*.whl \
 && /build/bin/pip --python /opt/onebit/bin/python install --quiet "$1[wyoming]"

FROM ${BASE_IMAGE} AS runtime
# Set to 1 for an image that also reads mp4, webm and what else libsndfile does not know.
ARG WITH_FFMPEG=
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ${WITH_FFMPEG:+ffmpeg} \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin \
 && groupadd --system --gid 10001 onebit \
 && useradd --system --uid 10001 --gid onebit --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin onebit \
 && install -d -o onebit -g onebit -m 0700 /var/spool/onebit
COPY --from=build /opt/onebit /opt/onebit

ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="onebit" \
      org.opencontainers.image.description="Speech recognition at 1, 2 and 4 bits per weight, served from small CPUs" \
      org.opencontainers.image.licenses="Apache-2.0 AND MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="debian:bookworm-slim"

# Only files that cannot be decoded while they arrive (through ffmpeg) are spooled; bound this volume where you run it.
ENV PATH=/opt/onebit/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TMPDIR=/var/spool/onebit \
    ONEBIT_HOST=0.0.0.0 \
    ONEBIT_PORT=8000 \
    HEALTH_URL=http://127.0.0.1:8000/health/live
VOLUME /var/spool/onebit
EXPOSE 8000
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["onebit"]
CMD ["serve"]
