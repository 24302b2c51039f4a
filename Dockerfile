# The daemon with nothing to train: no torch, no compiler, no root. `docker build -t streamlstm .`
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
# The codec of the hot path is C; the compiler stays in this stage, whatever its version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/streamlstm
WORKDIR /source
COPY pyproject.toml constraints.txt hatch_build.py README.md LICENSE ./
COPY streamlstm streamlstm
RUN /opt/streamlstm/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt . \
    && /opt/streamlstm/bin/streamlstm --version

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="streamlstm" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/streamlstm/streamlstm"
COPY --from=build /opt/streamlstm /opt/streamlstm
ENV PATH=/opt/streamlstm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STREAMLSTM_HTTP=0.0.0.0:9478
# A number, so that Kubernetes can see that it is not root's.
USER 10001:10001
WORKDIR /tmp
EXPOSE 9478
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9478/readyz', timeout=2)"]
# Exec form: the signal that asks for a drain reaches the daemon itself.
ENTRYPOINT ["streamlstm"]
CMD ["serve", "/models/model.onnx"]
