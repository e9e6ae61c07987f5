"""Answers KServe v2 with the help of Triton: requests are checked and written anew, answers say what is true here.

Loading a model is running code and a shared-memory region is a window into another process: whatever is not named below
does not exist at this door.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2

from contract.models import MODELS, ModelSpec
from server.inference.triton_engine import TritonEngine
from server.kserve.errors import KServeError
from server.kserve.requests import check_inference, check_version, ours
from server.triton.errors import is_private

logger = logging.getLogger(__name__)

SERVICE: Final = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
Metadata = tuple[tuple[str, str | bytes], ...]

_EXTENSIONS: Final = ("classification", "model_configuration", "statistics")
"""What is left of Triton's extensions here; over HTTP `binary_tensor_data` is added."""
_SUSPICIOUS: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
"""Statuses after which a model is looked at. What the error says is no evidence: it can quote the client."""


class Deadline(Protocol):
    """How much time a call has left."""

    def time_remaining(self) -> float | None:
        """Return seconds; None without a deadline."""
        ...


@dataclass(frozen=True)
class Method:
    """A call that is answered with one message: its types, and what is done to both."""

    request: type[Message]
    response: type[Message]
    check: Callable[[Any], None] = lambda _: None
    finish: Callable[["KServeFront", Any, Any], None] = lambda *_: None


class KServeFront:
    """The KServe calls of one server, over the Triton of `engine`."""

    def __init__(self, engine: TritonEngine) -> None:
        self.engine = engine

    async def ask(self, name: str, request: Message, deadline_s: float | None) -> Message:
        """Answer a call of `METHODS`; raises KServeError."""
        method = METHODS[name]
        method.check(request)
        request.DiscardUnknownFields()
        response = method.response.FromString(await self._call(name, request.SerializeToString(), deadline_s, ()))
        method.finish(self, request, response)
        return response

    async def infer(
        self, request: service_pb2.ModelInferRequest, deadline_s: float | None, metadata: Metadata = ()
    ) -> bytes:
        """Run one batch and return Triton's response as it is; raises KServeError."""
        self.admit(request)
        return await self._call(
            "ModelInfer", request.SerializeToString(), deadline_s, metadata, model=request.model_name
        )

    async def infer_stream(
        self, requests: AsyncIterator[bytes], deadline_s: float | None, metadata: Metadata
    ) -> AsyncIterator[bytes]:
        """Pass on requests that `admit` has let in, already serialised; raises KServeError."""
        multicallable: grpc.aio.StreamStreamMultiCallable[bytes, bytes]
        multicallable = self.engine.channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
        call = multicallable(requests, timeout=deadline_s, metadata=metadata)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise told(error) from error
        finally:
            call.cancel()

    def admit(self, request: service_pb2.ModelInferRequest) -> None:
        """Check an inference request, and that its model answers now; raises KServeError."""
        spec = check_inference(request)
        if not self.available(spec):
            raise KServeError(grpc.StatusCode.UNAVAILABLE, f"model {spec.name} is being repaired; try again")

    def available(self, spec: ModelSpec) -> bool:
        """Tell whether the model, and for the ensemble each of its parts, answers as far as is known."""
        parts = ("tokenizer", "window") if spec.backend == "ensemble" else (spec.name,)
        return all(self.engine.available(part) for part in parts)

    async def _call(
        self, method: str, request: bytes, deadline_s: float | None, metadata: Metadata, model: str = ""
    ) -> bytes:
        multicallable: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        multicallable = self.engine.channel.unary_unary(f"/{SERVICE}/{method}")
        # A cancelled handler cancels the call that it awaits.
        try:
            return await multicallable(request, timeout=deadline_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if model and error.code() in _SUSPICIOUS:
                self.engine.report_failure(model)
            raise told(error) from error


def told(error: grpc.aio.AioRpcError) -> KServeError:
    """Return Triton's error in the words that a client may read: none that name a socket, a file or shared memory."""
    details = error.details() or ""
    if not is_private(details):
        return KServeError(error.code(), details)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return KServeError(error.code(), "Triton can't be reached now")
    logger.warning("Triton failed with %s: %s", error.code().name, details)
    return KServeError(error.code(), "Triton failed at this request; the server's log says why")


def _versioned(request: Any) -> None:
    check_version(request.version)


def _named(request: Any) -> None:
    ours(request.name)
    check_version(request.version)


def _named_or_all(request: Any) -> None:
    check_version(request.version)
    if request.name:
        ours(request.name)


def _server_ready(front: KServeFront, _: Any, response: Any) -> None:
    response.ready = response.ready and all(front.available(spec) for spec in MODELS.values())


def _model_ready(front: KServeFront, request: Any, response: Any) -> None:
    spec = MODELS.get(request.name)
    response.ready = response.ready and spec is not None and front.available(spec)


def _metadata(_: KServeFront, __: Any, response: Any) -> None:
    response.name = "moodstream"
    del response.extensions[:]
    response.extensions.extend(_EXTENSIONS)


def _statistics(_: KServeFront, __: Any, response: Any) -> None:
    kept = [one for one in response.model_stats if one.name in MODELS]
    del response.model_stats[:]
    response.model_stats.extend(kept)


def _index(front: KServeFront, _: Any, response: Any) -> None:
    """Keep our models, and of why one is not loaded only that: the reason names files."""
    kept = [one for one in response.models if one.name in MODELS]
    for one in kept:
        one.ClearField("reason")
        if one.state == "READY" and not front.available(MODELS[one.name]):
            one.state = "UNAVAILABLE"
    del response.models[:]
    response.models.extend(kept)


def _pair(name: str) -> tuple[type[Message], type[Message]]:
    return getattr(service_pb2, f"{name}Request"), getattr(service_pb2, f"{name}Response")


METHODS: Final[Mapping[str, Method]] = {
    "ServerLive": Method(*_pair("ServerLive")),
    "ServerReady": Method(*_pair("ServerReady"), finish=_server_ready),
    "ServerMetadata": Method(*_pair("ServerMetadata"), finish=_metadata),
    "ModelReady": Method(*_pair("ModelReady"), check=_versioned, finish=_model_ready),
    "ModelMetadata": Method(*_pair("ModelMetadata"), check=_named),
    "ModelConfig": Method(*_pair("ModelConfig"), check=_named),
    "ModelStatistics": Method(*_pair("ModelStatistics"), check=_named_or_all, finish=_statistics),
    "RepositoryIndex": Method(*_pair("RepositoryIndex"), finish=_index),
}
"""Calls with one request and one answer, but for inference. `RepositoryIndex` only reads."""
