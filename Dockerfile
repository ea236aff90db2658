# One file for all services; the container's command is the process:
#   docker build --build-arg SERVICE=collector -t shoploop-collector .
#   docker run --read-only --tmpfs /tmp shoploop-collector http
FROM python:3.12-slim AS packages
ARG SERVICE
COPY services/${SERVICE}/requirements.lock /requirements.lock
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action ignore \
        --prefix /packages --no-deps --only-binary :all: --require-hashes -r /requirements.lock

FROM python:3.12-slim
ARG SERVICE
RUN useradd --system --uid 10001 --no-create-home shoploop \
    && install -d -o shoploop -g shoploop -m 0700 /data /keys
COPY --from=packages /packages /usr/local
WORKDIR /app
COPY shared/__init__.py shared/
COPY shared/contracts shared/contracts
COPY shared/runtime shared/runtime
COPY shared/learning shared/learning
COPY services/__init__.py services/
COPY services/${SERVICE} services/${SERVICE}
ENV SERVICE=${SERVICE} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    SHOPLOOP_HOST=0.0.0.0 \
    SHOPLOOP_HOME=/data \
    SHOPLOOP_KEYS=/keys/keys.json
USER 10001
# A process without a port is healthy while it runs: it ends loudly when a part of it fails.
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; p = os.environ.get('SHOPLOOP_PORT'); p and urllib.request.urlopen(f'http://127.0.0.1:{p}/readyz')"]
ENTRYPOINT ["sh", "-c", "exec python -m services.$SERVICE \"$@\"", "shoploop"]
CMD ["http"]
