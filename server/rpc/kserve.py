"""KServe v2 over gRPC: which calls exist at this port, and how their errors end them."""

import functools
from collections.abc import AsyncIterator, Callable
from typing import Final, NoReturn, TypeAlias

import grpc
from tritonclient.grpc import service_pb2

from server.inference.engine import Engine
from server.inference.triton_engine import TritonEngine
from server.kserve.errors import KServeError
from server.kserve.front import METHODS, SERVICE, KServeFront, Metadata
from server.kserve.requests import MAX_FIELDS
from server.wire import MalformedError, parse

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"

_FORWARDED_METADATA: Final = frozenset({"traceparent", "tracestate", "triton_grpc_error"})
"""Metadata that Triton understands. Credentials of our clients are none of its business."""
_IN_PROCESS: Final = "KServe v2 needs Triton, but this server runs its models in process; use moodstream.v1"


def kserve_handler(engine: Engine) -> grpc.GenericRpcHandler:
    """Return the handler of all methods of `inference.GRPCInferenceService` for a `grpc.aio` server.

    With the in-process engine every call is answered with UNIMPLEMENTED.
    """
    return _ToTriton(KServeFront(engine)) if isinstance(engine, TritonEngine) else _Unimplemented()


class _Unimplemented(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> "Handler | None":
        if _method_of(details) is None:
            return None
        return _refusing(grpc.StatusCode.UNIMPLEMENTED, _IN_PROCESS)


class _ToTriton(grpc.GenericRpcHandler):
    def __init__(self, front: KServeFront) -> None:
        self._front = front

    def service(self, details: grpc.HandlerCallDetails) -> "Handler | None":
        method = _method_of(details)
        if method is None:
            return None
        if method in METHODS:
            return grpc.unary_unary_rpc_method_handler(functools.partial(self._ask, method))
        metadata = tuple(pair for pair in details.invocation_metadata or () if pair[0] in _FORWARDED_METADATA)
        if method == "ModelInfer":
            return grpc.unary_unary_rpc_method_handler(functools.partial(self._infer, metadata))
        if method == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(functools.partial(self._stream, metadata))
        return _refusing(grpc.StatusCode.PERMISSION_DENIED, f"{method} is not open on this port")

    async def _ask(self, method: str, request: bytes, context: Context) -> bytes:
        try:
            message = parse(METHODS[method].request, request, MAX_FIELDS)
            response = await self._front.ask(method, message, context.time_remaining())
        except (KServeError, MalformedError) as error:
            await _abort(context, error)
        return response.SerializeToString()

    async def _infer(self, metadata: Metadata, request: bytes, context: Context) -> bytes:
        try:
            return await self._front.infer(_inference(request), context.time_remaining(), metadata)
        except (KServeError, MalformedError) as error:
            await _abort(context, error)

    async def _stream(
        self, metadata: Metadata, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        admitted = _Admitted(requests, self._front.admit)
        try:
            async for response in self._front.infer_stream(admitted.requests(), context.time_remaining(), metadata):
                yield response
        except KServeError as error:
            await _abort(context, error)
        if admitted.refused is not None:
            await _abort(context, admitted.refused)


class _Admitted:
    """The requests of a stream up to the first one that is refused: those before it are still answered."""

    def __init__(self, requests: AsyncIterator[bytes], admit: Callable[[service_pb2.ModelInferRequest], None]) -> None:
        self._requests = requests
        self._admit = admit
        self.refused: KServeError | MalformedError | None = None

    async def requests(self) -> AsyncIterator[bytes]:
        async for data in self._requests:
            try:
                request = _inference(data)
                self._admit(request)
            except (KServeError, MalformedError) as refused:
                self.refused = refused
                return
            yield request.SerializeToString()


def _inference(data: bytes) -> service_pb2.ModelInferRequest:
    return parse(service_pb2.ModelInferRequest, data, MAX_FIELDS)


def _method_of(details: grpc.HandlerCallDetails) -> str | None:
    """Return the method's name, None for methods of other services."""
    service, _, method = (details.method or "").lstrip("/").partition("/")
    return method if service == SERVICE else None


def _refusing(code: grpc.StatusCode, sentence: str) -> Handler:
    """Return a handler that aborts before it reads; as a stream of both it fits calls of every kind."""

    async def refuse(_: AsyncIterator[bytes], context: Context) -> None:
        await context.abort(code, sentence)

    return grpc.stream_stream_rpc_method_handler(refuse)


async def _abort(context: Context, error: KServeError | MalformedError) -> NoReturn:
    code = error.code if isinstance(error, KServeError) else grpc.StatusCode.INVALID_ARGUMENT
    await context.abort(code, str(error))
