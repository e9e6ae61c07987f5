# The front end, without torch. Triton runs in a container of its own: pass --triton-url.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY contract contract
COPY protos protos
COPY server server
COPY client client
COPY loadtest loadtest
COPY training training
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir '.[cpu]'

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --no-create-home moodstream
COPY --from=build /venv /venv
COPY model_repository/tokenizer /repository/tokenizer
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 MOODSTREAM_REPOSITORY=/repository MOODSTREAM_HTTP_PORT=8080
USER 10001
EXPOSE 50051 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["python", "-m", "server"]
