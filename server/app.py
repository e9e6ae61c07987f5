"""Puts the parts of a serving process together and takes them apart again. One event loop runs all of it."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from moodstream.v1 import service_pb2, service_pb2_grpc
from tritonclient.grpc import service_pb2 as kserve_pb2

from server.access.identity import Access, ApiKeys, Authenticator, JwtTokens, SharedToken
from server.http import application, serving
from server.inference.encoders import Encoders
from server.inference.engine import LoadedModel
from server.inference.repository import local_tokenizer
from server.inference.select import open_engine
from server.inference.tokenizer import Tokenizer
from server.inference.triton_engine import TritonEngine
from server.live.admission import Admission
from server.live.front import Front
from server.media.clip_decoders import ClipDecoders
from server.media.faces import HaarDetector
from server.media.pump import MediaPump
from server.media.voice import VoiceDetector, VoiceDetectorMissingError
from server.metrics import measure_loop_lag
from server.readiness import Readiness
from server.rpc.auth import AccessInterceptor
from server.rpc.kserve import kserve_handler
from server.rpc.parsing import ParsingInterceptor
from server.rpc.service import SentimentService
from server.rpc.tls import TlsError, server_credentials
from server.settings import MAX_REQUEST_BYTES, ServerSettings

logger = logging.getLogger(__name__)

_SERVICE = service_pb2.DESCRIPTOR.services_by_name["SentimentService"].full_name
_KSERVE = kserve_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", MAX_REQUEST_BYTES),
    # Clients may ping every 10 s, even without a call: less than that is answered with GOAWAY too_many_pings.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # A few kilobytes of gzip are hundreds of megabytes of zeros, and gRPC inflates them before it looks at the size.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.per_message_decompression", 0),
    # Two servers on one port would share its connections by chance.
    ("grpc.so_reuseport", 0),
)


class PortError(RuntimeError):
    """The address can't be bound."""


class AccessError(RuntimeError):
    """A file of keys can't be used."""


@dataclass(frozen=True)
class Running:
    """A server that accepts calls."""

    address: str
    front: Front
    health: health.aio.HealthServicer
    server: grpc.aio.Server
    readiness: Readiness
    http_address: str = ""
    """Where HTTP answers; empty without."""


@asynccontextmanager
async def running_server(settings: ServerSettings) -> AsyncIterator[Running]:
    """Start everything, yield when calls are accepted, and at the end let sessions finish within `drain_s`.

    Raises:
        EngineSetupError, TritonError, EngineError, RepositoryError: see `open_engine`.
        PortError: the address is in use or not ours.
        TlsError, AccessError: files of certificates or keys can't be used.
    """
    # Decoding runs in one thread of ours; OpenCV's own pool would only fight the models for the cores.
    cv2.setNumThreads(1)
    async with AsyncExitStack() as stack:
        engine, reason = await open_engine(settings.engine_settings)
        stack.push_async_callback(engine.close)
        models = await engine.models()
        encoders = Encoders(engine, _local_tokenizer(settings.repository, models))
        stack.push_async_callback(encoders.close)
        pump = MediaPump()
        stack.push_async_callback(pump.close)
        admission = Admission(settings.identity)
        clips = ClipDecoders()
        stack.push_async_callback(clips.close)
        detector = HaarDetector()
        front = Front(
            engine, reason, models, encoders, pump, clips, detector, settings.limits, admission, _voice_detector()
        )
        access = _access(settings)
        running = await _listen(settings, front, access)
        stack.push_async_callback(_stop, running, settings.drain_s)
        await _watch(stack, running)
        if settings.http_port is not None:
            running = await _listen_http(stack, settings, running, access)
        _settle_memory()
        yield running


async def _watch(stack: AsyncExitStack, running: Running) -> None:
    """Run what looks after the process until the stack unwinds."""
    for work in (running.readiness.run(), measure_loop_lag()):
        task = asyncio.create_task(work)
        stack.push_async_callback(asyncio.wait, [task])
        stack.callback(task.cancel)


async def _listen_http(stack: AsyncExitStack, settings: ServerSettings, running: Running, access: Access) -> Running:
    front = running.front
    app = application(
        access,
        lambda: running.readiness.is_ready and not front.is_draining,
        lambda: len(front.sessions),
        lambda: front.engine.metrics_url if isinstance(front.engine, TritonEngine) else "",
    )
    try:
        address = await stack.enter_async_context(serving(app, settings.host, settings.http_port or 0))
    except OSError as error:
        message = f"cannot listen on {settings.host}:{settings.http_port}"
        raise PortError(f"{message}: the address is in use or not one of this machine") from error
    return replace(running, http_address=address)


async def _listen(settings: ServerSettings, front: Front, access: Access) -> Running:
    interceptors = (AccessInterceptor(access), ParsingInterceptor())
    server = grpc.aio.server(interceptors=interceptors, options=_OPTIONS)
    service_pb2_grpc.add_SentimentServiceServicer_to_server(SentimentService(front), server)
    server.add_generic_rpc_handlers((kserve_handler(front.engine),))
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    names = (_SERVICE, _KSERVE, health.SERVICE_NAME)
    if settings.reflection:
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
    address = f"{settings.host}:{settings.port}"
    try:
        if settings.tls is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, server_credentials(settings.tls))
    except TlsError:
        raise
    except RuntimeError as error:
        raise PortError(f"cannot listen on {address}: the address is in use or not one of this machine") from error
    await server.start()
    for name in ("", *names):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    readiness = Readiness(front.engine, checks, ("", _SERVICE, _KSERVE))
    return Running(f"{settings.host}:{port}", front, checks, server, readiness)


def _access(settings: ServerSettings) -> Access:
    authenticators: list[Authenticator] = []
    try:
        if settings.token_file is not None:
            authenticators.append(SharedToken(settings.token_file.read_text(encoding="utf-8").strip()))
        if settings.keys_file is not None:
            authenticators.append(ApiKeys(settings.keys_file))
        if settings.jwt is not None:
            authenticators.append(JwtTokens(settings.jwt.jwks_file, settings.jwt.issuer, settings.jwt.audience))
    except (OSError, ValueError) as error:
        raise AccessError(str(error)) from error
    return Access(tuple(authenticators), settings.tls is not None and settings.tls.client_ca is not None)


async def _stop(running: Running, drain_s: float) -> None:
    """Tell the world, finish the sessions that run, and close the port."""
    await running.health.enter_graceful_shutdown()
    running.front.drain()
    await running.server.stop(drain_s)
    await running.front.close()


def _local_tokenizer(repository: Path, models: list[LoadedModel]) -> Tokenizer | None:
    """Tokenize here where the repository's tokenizer is at hand; else the `tokenizer` model is asked."""
    path = local_tokenizer(repository, models[0].parameters["tokenizer_sha256"])
    return None if path is None else Tokenizer(path)


def _voice_detector() -> VoiceDetector | None:
    try:
        return VoiceDetector()
    except VoiceDetectorMissingError as error:
        logger.info("pauses are found by loudness alone: %s", error)
        return None


def _settle_memory() -> None:
    """Keep the loaded heap out of garbage collections: a full one over it takes 80 to 100 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def serve(settings: ServerSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, and print the address when calls are accepted."""
    async with running_server(settings) as running:
        why = f" ({running.front.engine_reason})" if running.front.engine_reason else ""
        print(f"Moodstream listens on {running.address}, engine {running.front.engine.name}{why}", flush=True)
        if running.http_address:
            print(f"HTTP on {running.http_address}", flush=True)
        await stop.wait()
        logger.info("stopping")
