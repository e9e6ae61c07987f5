"""Passes KServe v2 calls of batch clients on to Triton, byte for byte, by an allow-list.

Loading a model is running code and a shared-memory region is a window into another process, so whatever is not on the
list is refused. Requests are parsed only to decide about them; what is forwarded are the bytes that came.
"""

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from tritonclient.grpc import service_pb2

from contract.models import MODELS
from server.inference.engine import Engine
from server.inference.triton_engine import TritonEngine

SERVICE: Final = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Metadata = tuple[tuple[str, str | bytes], ...]

_FORWARDED_METADATA: Final = frozenset({"traceparent", "tracestate", "triton_grpc_error"})
"""Metadata that Triton understands. Credentials of our clients are none of its business."""
_IN_PROCESS: Final = "KServe v2 needs Triton, but this server runs its models in process; use moodstream.v1"


class RefusedError(Exception):
    """A request that is not passed on, with the status to answer with."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code


Rule = Callable[[bytes], str]
"""Returns the model that a request is about (empty: none); raises RefusedError."""


def kserve_handler(engine: Engine) -> grpc.GenericRpcHandler:
    """Return the handler of all methods of `inference.GRPCInferenceService` for a `grpc.aio` server.

    With the in-process engine every call is answered with UNIMPLEMENTED.
    """
    return _ToTriton(engine) if isinstance(engine, TritonEngine) else _Unimplemented()


class _Unimplemented(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> "Handler | None":
        if _method_of(details) is None:
            return None
        return _refusing(grpc.StatusCode.UNIMPLEMENTED, _IN_PROCESS)


class _ToTriton(grpc.GenericRpcHandler):
    def __init__(self, engine: TritonEngine) -> None:
        self._engine = engine

    def service(self, details: grpc.HandlerCallDetails) -> "Handler | None":
        method = _method_of(details)
        if method is None:
            return None
        rule = _RULES.get(method)
        if rule is None:
            return _refusing(grpc.StatusCode.PERMISSION_DENIED, f"{method} is not open on this port")
        metadata = tuple(pair for pair in details.invocation_metadata or () if pair[0] in _FORWARDED_METADATA)
        if method == "ModelStreamInfer":
            return grpc.stream_stream_rpc_method_handler(functools.partial(self._stream, method, rule, metadata))
        return grpc.unary_unary_rpc_method_handler(functools.partial(self._unary, method, rule, metadata))

    async def _unary(self, method: str, rule: Rule, metadata: Metadata, request: bytes, context: Context) -> bytes:
        try:
            model = rule(request)
        except RefusedError as refused:
            await context.abort(refused.code, str(refused))
        multicallable: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        multicallable = self._engine.channel.unary_unary(f"/{SERVICE}/{method}")
        # A cancelled handler cancels the call that it awaits.
        try:
            return await multicallable(request, timeout=context.time_remaining(), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            self._engine.report_failure(model, error.details() or "")
            await _abort_like(context, error)

    async def _stream(
        self, method: str, rule: Rule, metadata: Metadata, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        checked = _Checked(requests, rule)
        multicallable: grpc.aio.StreamStreamMultiCallable[bytes, bytes]
        multicallable = self._engine.channel.stream_stream(f"/{SERVICE}/{method}")
        call = multicallable(checked.allowed(), timeout=context.time_remaining(), metadata=metadata)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            await _abort_like(context, error)
        finally:
            call.cancel()
        if checked.refused is not None:
            await context.abort(checked.refused.code, str(checked.refused))


class _Checked:
    """The requests of a stream up to the first one that is refused: those before it are still answered."""

    def __init__(self, requests: AsyncIterator[bytes], rule: Rule) -> None:
        self._requests = requests
        self._rule = rule
        self.refused: RefusedError | None = None

    async def allowed(self) -> AsyncIterator[bytes]:
        async for request in self._requests:
            try:
                self._rule(request)
            except RefusedError as refused:
                self.refused = refused
                return
            yield request


def _no_model(_: bytes) -> str:
    return ""


def _named_model(message: type[Message]) -> Rule:
    """Return the rule of a method whose request names the model in `name`."""

    def rule(request: bytes) -> str:
        return _ours(_parsed(message, request).name)

    return rule


def _inference(request: bytes) -> str:
    """Allow inference with tensors in the message, not in memory that is shared with Triton."""
    parsed = _parsed(service_pb2.ModelInferRequest, request)
    for tensor in (*parsed.inputs, *parsed.outputs):
        if any(key.startswith("shared_memory") for key in tensor.parameters):
            raise RefusedError(
                grpc.StatusCode.PERMISSION_DENIED,
                f"tensor {tensor.name} is in shared memory, which is not open on this port: send it in the message",
            )
    return _ours(parsed.model_name)


def _parsed(message: type[Message], request: bytes) -> Any:
    try:
        return message.FromString(request)
    except DecodeError as error:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"not a {message.__name__}: {error}") from error


def _ours(model: str) -> str:
    if model not in MODELS:
        said = f"model {model!r} is not served here" if model else "the request must name a model"
        raise RefusedError(grpc.StatusCode.PERMISSION_DENIED, f"{said}; there are {', '.join(MODELS)}")
    return model


_RULES: Final[dict[str, Rule]] = {
    "ServerLive": _no_model,
    "ServerReady": _no_model,
    "ServerMetadata": _no_model,
    "ModelReady": _named_model(service_pb2.ModelReadyRequest),
    "ModelMetadata": _named_model(service_pb2.ModelMetadataRequest),
    "ModelConfig": _named_model(service_pb2.ModelConfigRequest),
    "ModelStatistics": _named_model(service_pb2.ModelStatisticsRequest),
    "ModelInfer": _inference,
    "ModelStreamInfer": _inference,
}


def _method_of(details: grpc.HandlerCallDetails) -> str | None:
    """Return the method's name, None for methods of other services."""
    service, _, method = (details.method or "").lstrip("/").partition("/")
    return method if service == SERVICE else None


def _refusing(code: grpc.StatusCode, sentence: str) -> Handler:
    """Return a handler that aborts before it reads; as a stream of both it fits calls of every kind."""

    async def refuse(_: AsyncIterator[bytes], context: Context) -> None:
        await context.abort(code, sentence)

    return grpc.stream_stream_rpc_method_handler(refuse)


async def _abort_like(context: Context, error: grpc.aio.AioRpcError) -> NoReturn:
    """End the call as Triton ended it. Where Triton could not be reached, its private address is kept back."""
    unreachable = error.code() is grpc.StatusCode.UNAVAILABLE and "failed to connect" in (error.details() or "")
    details = "Triton can't be reached now" if unreachable else error.details() or ""
    trailing = tuple(pair for pair in error.trailing_metadata() or () if not pair[0].startswith("grpc-"))
    await context.abort(error.code(), details, trailing)
