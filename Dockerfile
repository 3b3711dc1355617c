# Builds with Docker 25 or newer, without fetching a frontend; the image runs on older engines too.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
RUN python3 -m venv --without-pip /opt/venv
COPY requirements.txt /tmp/
# Wheels only: the same image on amd64 and arm64, and no compiler in any stage.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/venv/bin/python install --disable-pip-version-check --root-user-action=ignore \
    --require-hashes --only-binary :all: -r /tmp/requirements.txt
COPY . /app
# Nothing can be compiled later: the file system is read-only.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="anthropic-gateway" \
      org.opencontainers.image.description="A self-hosted gateway to the whole Anthropic API" \
      org.opencontainers.image.version="1.0.0" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
# The published base comes without bytecode of the standard library: compile what the server imports here, once, and
# not at each start.
RUN /opt/venv/bin/python -c "import gateway.cli, gateway.healthcheck, gateway.server, gateway.supervisor, sandbox"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 PORT=8000 DATA_DIR=/data LOG_DIR=/logs CONFIG_DIR=/config
# Sticky and open like /tmp, so that a new volume can be written by whichever user the container is told to run as.
RUN mkdir /config && mkdir -m 1777 /data /logs
VOLUME ["/data", "/logs"]
EXPOSE 8000
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --start-interval=1s --retries=3 \
    CMD ["python", "-m", "gateway.healthcheck"]
CMD ["python", "main.py"]
