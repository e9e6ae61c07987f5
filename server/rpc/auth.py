"""Bearer-token authentication of every call, Moodstream's and KServe's alike."""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from server.live.failures import Failure
from server.rpc.status import abort
from server.session.reasons import Reason

_OPEN_SERVICES = ("/grpc.health.v1.Health/",)
"""Probes of orchestrators carry no token, and health tells nothing of anybody's media."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Lets a call pass when its `authorization` metadata is `Bearer <token>`."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Return the method's own handler, or one that refuses."""
        handler = await continuation(handler_call_details)
        if handler is None or (handler_call_details.method or "").startswith(_OPEN_SERVICES):
            return handler
        metadata = dict(handler_call_details.invocation_metadata or ())
        given = metadata.get("authorization", "")
        given_bytes = given.encode() if isinstance(given, str) else given
        return handler if hmac.compare_digest(given_bytes, self._expected) else _refusing()


def _refusing() -> "Handler":
    async def refuse(_: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        message = "expected the metadata 'authorization: Bearer <token>'"
        await abort(context, Failure(Reason.CREDENTIALS_INVALID, message))

    # As a stream of both it fits calls of every kind, and refuses before a message is read.
    return grpc.stream_stream_rpc_method_handler(refuse)
