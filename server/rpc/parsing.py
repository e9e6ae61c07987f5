"""Parses requests within bounds, and answers what is no request with INVALID_ARGUMENT.

gRPC's own way with bytes that can't be parsed is UNKNOWN, with a Python class name for the client and a traceback for
the log.
"""

import functools
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf.message import Message

from server.live.failures import RefusedError, refused
from server.logs import RateLimit
from server.rpc.status import abort
from server.session.reasons import Reason
from server.wire import MalformedError, parse

logger = logging.getLogger(__name__)
logger.addFilter(RateLimit())

MAX_FIELDS: Final = 10_000
"""Of one message: a transcript of ten minutes has about 3,000. It takes 10 ms to count so many."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ParsingInterceptor(grpc.aio.ServerInterceptor):
    """Takes the parsing of every generated service into its own hands."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Return the method's handler with bounded parsing; handlers that take bytes stay as they are."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_deserializer is None:
            return handler
        message = getattr(handler.request_deserializer, "__self__", None)
        assert isinstance(message, type), f"{handler_call_details.method}: expected a generated deserializer"
        return _bounded(handler, message)


def _bounded(handler: "Handler", message: type[Message]) -> "Handler":
    codecs: dict[str, Any] = {
        "request_deserializer": functools.partial(_parsed, message),
        "response_serializer": handler.response_serializer,
    }
    checked: Callable[[Any], Any] = _CheckedStream if handler.request_streaming else _checked
    if handler.response_streaming:
        behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream
        make = (
            grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
        )
        # Health's `Watch` writes to the context and yields nothing.
        wrap = _streaming if inspect.isasyncgenfunction(behaviour) else _answering
        return make(wrap(behaviour, checked), **codecs)
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(_answering(handler.stream_unary, checked), **codecs)
    return grpc.unary_unary_rpc_method_handler(_answering(handler.unary_unary, checked), **codecs)


def _parsed(message: type[Message], data: bytes) -> Message | MalformedError:
    """Never raise: what a deserializer raises ends the call before anybody could answer it."""
    try:
        return parse(message, data, MAX_FIELDS)
    except MalformedError as error:
        return error.with_traceback(None)


def _checked(request: Any) -> Any:
    if isinstance(request, MalformedError):
        logger.warning("a request was refused: %s", request)
        raise refused(Reason.MESSAGE_MALFORMED, str(request))
    return request


class _CheckedStream:
    """The requests of a stream up to the first one that is none."""

    def __init__(self, requests: AsyncIterator[Any]) -> None:
        self._requests = requests

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return _checked(await anext(self._requests))


def _answering(behaviour: Any, checked: Callable[[Any], Any]) -> Any:
    async def answer(request: Any, context: Context) -> Any:
        try:
            return await behaviour(checked(request), context)
        except RefusedError as error:
            await abort(context, error.failure)

    return answer


def _streaming(behaviour: Any, checked: Callable[[Any], Any]) -> Any:
    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            async with aclosing(behaviour(checked(request), context)) as responses:
                async for response in responses:
                    yield response
        except RefusedError as error:
            await abort(context, error.failure)

    return stream
