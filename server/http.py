"""The HTTP port: for orchestrators, which ask whether to send work here, and for Prometheus."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from server.access.identity import Access, CredentialsError, Role
from server.metrics import SESSIONS

_TRITON_TIMEOUT_S = 1.0


def application(
    access: Access, is_ready: Callable[[], bool], sessions: Callable[[], int], triton_metrics: Callable[[], str]
) -> Starlette:
    """Return the application.

    Args:
        access: who may read the metrics (admins, where anybody is known at all); health is open.
        is_ready: whether new sessions are welcome.
        sessions: how many there are.
        triton_metrics: address of Triton's own metrics, which are told as well; empty without.
    """

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        return PlainTextResponse("ready\n") if is_ready() else PlainTextResponse("not ready\n", status_code=503)

    async def metrics(request: Request) -> Response:
        try:
            identity = access.identify(request.headers.get("authorization", ""))
        except CredentialsError as error:
            return PlainTextResponse(f"{error}\n", status_code=401, headers={"WWW-Authenticate": "Bearer"})
        if not identity.may(Role.ADMIN):
            return PlainTextResponse("metrics need the role admin\n", status_code=403)
        SESSIONS.set(sessions())
        content = generate_latest() + await asyncio.to_thread(_fetched, triton_metrics())
        return Response(content, media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


def _fetched(url: str) -> bytes:
    if url:
        with suppress(OSError), urllib.request.urlopen(url, timeout=_TRITON_TIMEOUT_S) as response:  # noqa: S310 (ours)
            content: bytes = response.read()
            return content
    return b""


@asynccontextmanager
async def serving(app: Starlette, host: str, port: int) -> AsyncIterator[str]:
    """Serve the application and yield its address; raises OSError when the address can't be bound."""
    config = uvicorn.Config(app, host=host, port=port, log_config=None, lifespan="off", access_log=False)
    socket = config.bind_socket()
    server = uvicorn.Server(config)
    # `serve` would take the signals, which are the business of the process.
    task = asyncio.create_task(server._serve(sockets=[socket]), name="http")
    try:
        yield f"{host}:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        socket.close()
