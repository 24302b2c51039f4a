# The daemon with nothing to train: no torch, no compiler, no root. `docker build -t streamlstm .`
# With --build-arg EXTRA=[train] what `streamlstm retrain` needs besides.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
# The codec of the hot path is C; the compiler stays in this stage, whatever its version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
# Without pip, which the daemon has no use for; the imports are of what was compiled: an install goes on without it.
RUN python -m venv --without-pip /opt/streamlstm
WORKDIR /source
COPY pyproject.toml constraints.txt setup.py README.md LICENSE ./
COPY streamlstm streamlstm
ARG EXTRA=""
ARG PIP_ARGS=""
# hadolint ignore=SC2086
RUN python -m pip --python /opt/streamlstm/bin/python install --no-cache-dir --disable-pip-version-check ${PIP_ARGS} -c constraints.txt ".${EXTRA}" \
    && /opt/streamlstm/bin/python -I -c 'import streamlstm.store.resp._codec, streamlstm.engine._kernels, streamlstm.models._integer_division' \
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
# Not urllib, which would ask the proxy that Docker's settings may put into the environment.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import http.client as h, os; c = h.HTTPConnection('127.0.0.1:' + os.environ['STREAMLSTM_HTTP'].rpartition(':')[2], timeout=2); c.request('GET', '/readyz'); exit(c.getresponse().status != 200)"]
# Exec form: the signal that asks for a drain reaches the daemon itself.
ENTRYPOINT ["streamlstm"]
CMD ["serve"]
