"""Feeds the messages of a connection into its session: bounds them in size and time, and refuses the rest."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from contract.timing import NS_PER_S
from server.live.events import CloseReason
from server.live.failures import Failure, RefusedError
from server.live.session import Connection
from server.session.messages import EndOfUtterance, Item, Media, Modality
from server.session.reasons import Reason

logger = logging.getLogger(__name__)
Request = TypeVar("Request")


@dataclass(frozen=True)
class Incoming:
    """One message of a client, free of its wire format. It is taken in as a whole or not at all."""

    items: tuple[Item, ...] = ()
    refusal: Failure | None = None
    """Why the message is none of a session's."""
    closes: bool = False
    responses_received: int | None = None
    """How many responses the client says that it has."""


@asynccontextmanager
async def reading(
    requests: AsyncIterator[Request], connection: Connection[Any], parse: Callable[[Request], Incoming]
) -> AsyncIterator[None]:
    """Feed the session in the background until its client or a limit ends it; stops with the block."""
    reader = asyncio.create_task(_read(requests, connection, parse), name="session-reader")
    try:
        yield
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _read(
    requests: AsyncIterator[Request], connection: Connection[Any], parse: Callable[[Request], Incoming]
) -> None:
    runner = connection.session.runner
    try:
        runner.finish(await _read_until_end(requests, connection, parse))
    except RefusedError as error:
        if error.failure.reason != Reason.SESSION_RESUMED:
            runner.fail(error.failure)
    except Exception:
        # Whatever broke, the session must end with it: its client would wait for ever.
        logger.exception("reading a session failed")
        runner.fail(Failure(Reason.INTERNAL, "the session failed in the server"))


async def _read_until_end(
    requests: AsyncIterator[Request], connection: Connection[Any], parse: Callable[[Request], Incoming]
) -> CloseReason:
    try:
        async with asyncio.timeout_at(connection.session.ends_at):
            return await _read_until_idle(requests, connection, parse)
    except TimeoutError:
        return CloseReason.MAX_DURATION


async def _read_until_idle(
    requests: AsyncIterator[Request], connection: Connection[Any], parse: Callable[[Request], Incoming]
) -> CloseReason:
    session = connection.session
    while True:
        try:
            async with asyncio.timeout(session.limits.idle_timeout_ns / NS_PER_S):
                request = await anext(requests, None)
        except TimeoutError:
            return CloseReason.IDLE_TIMEOUT
        if request is None:
            if session.is_resumable:
                # A lost connection ends like this too; then the call is cancelled, and the session waits for another.
                await asyncio.sleep(session.limits.resume_window_ns / NS_PER_S)
            return CloseReason.CLIENT
        incoming = parse(request)
        await session.runner.ready()
        # From here on without a pause: a message is counted exactly when all of it has been taken in.
        connection.check()
        session.requests_received += 1
        if incoming.responses_received is not None:
            session.log.forget(incoming.responses_received)
        if incoming.closes:
            return CloseReason.CLIENT
        take_in(incoming, connection)


def take_in(incoming: Incoming, connection: Connection[Any]) -> None:
    """Pass one message on, or put a rejection into the session's events."""
    runner, limits = connection.session.runner, connection.session.limits
    bounds = {
        Modality.AUDIO: limits.max_audio_bytes,
        Modality.VIDEO: limits.max_image_bytes,
        Modality.TEXT: limits.max_text_bytes,
    }
    if incoming.refusal is not None:
        runner.refuse(incoming.refusal)
    for item in incoming.items:
        if isinstance(item, Media) and _size(item) > bounds[item.modality]:
            runner.reject(item.modality, item.sequence, _too_large(item, bounds[item.modality]))
        else:
            runner.receive(_timed(item, connection.session.started_at))


def _timed(item: Item, started_at: float) -> Item:
    """Note when a message came that has no time of its own."""
    if (isinstance(item, Media) and not item.has_time) or (isinstance(item, EndOfUtterance) and item.offset_ns is None):
        return replace(item, arrived_ns=int((asyncio.get_running_loop().time() - started_at) * NS_PER_S))
    return item


def _size(media: Media) -> int:
    return len(media.data) + sum(len(word.text.encode()) for word in media.words)


def _too_large(media: Media, limit: int) -> Failure:
    field = f"{media.modality}.{'text' if media.modality == Modality.TEXT else 'data'}"
    message = f"{field} has {_size(media)} bytes: at most {limit} are accepted in one message"
    return Failure(Reason.MESSAGE_TOO_LARGE, message, field)
