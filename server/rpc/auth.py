"""Identifies the caller of every call, Moodstream's and KServe's alike, and asks for the role that the call needs."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

import grpc

from server.access.identity import ANYBODY, Access, CredentialsError, Identity, Role
from server.live.failures import Failure
from server.rpc.status import abort
from server.session.reasons import Reason

_OPEN_SERVICES: Final = ("/grpc.health.v1.Health/",)
"""Probes of orchestrators carry no token, and health tells nothing of anybody's media."""
_ROLES: Final = {
    "/moodstream.v1.SentimentService/StreamSentiment": Role.STREAM,
    "/moodstream.v1.SentimentService/AnalyzeClip": Role.BATCH,
}
_KSERVE: Final = "/inference.GRPCInferenceService/"

caller: ContextVar[Identity] = ContextVar("caller", default=ANYBODY)
"""Who makes the call that is being answered."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Lets a call pass when its caller is known and has the role."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Return the method's own handler, or one that refuses."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method or ""
        if handler is None or method.startswith(_OPEN_SERVICES):
            return handler
        header = dict(handler_call_details.invocation_metadata or ()).get("authorization", "")
        authorization = header if isinstance(header, str) else header.decode(errors="replace")
        try:
            identity = self._access.identify(authorization)
        except CredentialsError as error:
            return _refusing(Failure(Reason.CREDENTIALS_INVALID, str(error)))
        role = Role.BATCH if method.startswith(_KSERVE) else _ROLES.get(method)
        if role is not None and not identity.may(role):
            return _refusing(Failure(Reason.NOT_ALLOWED, f"this call needs the role {role}"))
        caller.set(identity)
        return handler


def _refusing(failure: Failure) -> "Handler":
    async def refuse(_: Any, context: Context) -> None:
        await abort(context, failure)

    # As a stream of both it fits calls of every kind, and refuses before a message is read.
    return grpc.stream_stream_rpc_method_handler(refuse)
