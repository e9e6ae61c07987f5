"""One live session over as many connections as it takes: a lost one is replaced, and nothing is lost or said twice."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Final

import grpc
from moodstream.v1.session_pb2 import (
    CloseSession,
    ResumeSession,
    SessionConfig,
    StreamSentimentRequest,
    StreamSentimentResponse,
)

from client.clip import Media, stream_request
from client.durations import NS_PER_S, to_ns
from client.errors import MoodstreamError, NotResumedError, ServerUnreachableError, StatusWatch, StreamEndedError
from client.outbox import Outbox

_RETRY_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses between the tries to connect again; the last one repeats."""

_BEGIN_S: Final = 5.0
"""How long it is tried to begin a session whose connection was lost before it had started."""

Call = grpc.aio.StreamStreamCall[StreamSentimentRequest, StreamSentimentResponse]
OpenCall = Callable[[float | None], Call]
"""Opens a stream with a deadline in seconds."""


class LiveStream:
    """The state of one session that outlives its connections."""

    def __init__(
        self,
        open_call: OpenCall,
        is_reachable: Callable[[], bool],
        target: str,
        config: SessionConfig,
        timeout_s: float | None,
    ) -> None:
        self._open_call = open_call
        self._is_reachable = is_reachable
        self._target = target
        self._config = config
        self._ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        self._outbox = Outbox()
        self._token = ""
        self._window_s = 0.0
        self._received = 0
        """Responses, `SessionResumed` not included."""
        self._started = asyncio.Event()
        self._closed = False
        self._call: Call | None = None
        self._is_connected = False

    async def run(self, source: AsyncIterator[Media]) -> AsyncGenerator[StreamSentimentResponse, None]:
        """Send `source` and yield the responses; raises as `MoodstreamClient.stream` does."""
        feeder = asyncio.create_task(self._feed(source), name="session-source")
        feeder.add_done_callback(self._cancel_if_failed)
        lost_at, tries = 0.0, 0
        try:
            while not self._closed:
                try:
                    async with aclosing(self._connection()) as responses:
                        async for response in responses:
                            tries = 0
                            yield response
                except MoodstreamError as error:
                    lost_at = lost_at if tries else time.monotonic()
                    if not self._can_retry(error, lost_at):
                        raise
                    await asyncio.sleep(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
                    tries += 1
                except asyncio.CancelledError:
                    if _was_cancelled() or (failure := _failure_of(feeder)) is None:
                        raise
                    raise failure from None
        finally:
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)

    async def _connection(self) -> AsyncGenerator[StreamSentimentResponse, None]:
        """Run one connection until it ends or the session has closed."""
        timeout_s = None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())
        self._call = call = self._open_call(timeout_s)
        status = StatusWatch(call)
        self._is_connected = False
        ready = asyncio.Event()
        sender = asyncio.create_task(self._send(call, ready), name="session-sender")
        try:
            async for response in call:
                await self._note(response)
                self._is_connected = True
                ready.set()
                yield response
            if not self._closed:
                message = f"{self._target} ended the stream without closing the session"
                raise StreamEndedError(grpc.StatusCode.OK, message)
        except grpc.aio.AioRpcError as error:
            if not self._closed:
                raise self._told(await status.error(error, self._target, self._started.is_set())) from None
        finally:
            call.cancel()
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    async def _note(self, response: StreamSentimentResponse) -> None:
        kind = response.WhichOneof("response")
        if kind == "resumed":
            await self._outbox.rewind(response.resumed.requests_received)
            return
        self._received += 1
        self._outbox.forget(response.requests_received)
        if kind == "started":
            self._token = response.started.resume_token
            self._window_s = to_ns(response.started.limits.resume_window) / NS_PER_S
            self._started.set()
        self._closed = self._closed or kind == "closed"

    async def _send(self, call: Call, ready: asyncio.Event) -> None:
        """Write to one connection. Ends quietly when the call has ended, as the reader learns why."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(self._first())
            await ready.wait()
            while True:
                request = await self._outbox.take()
                if self._token:
                    request.responses_received = self._received
                await call.write(request)
                if request.HasField("close"):
                    await call.done_writing()
                    return

    def _first(self) -> StreamSentimentRequest:
        if not self._token:
            return StreamSentimentRequest(config=self._config)
        return StreamSentimentRequest(resume=ResumeSession(resume_token=self._token, responses_received=self._received))

    async def _feed(self, source: AsyncIterator[Media]) -> None:
        """Take media from the source, once the session has started, and as fast as it is sent."""
        try:
            await self._started.wait()
            async for media in source:
                await self._outbox.put(stream_request(media))
            await self._outbox.put(StreamSentimentRequest(close=CloseSession()))
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()

    def _cancel_if_failed(self, feeder: asyncio.Task[None]) -> None:
        if _failure_of(feeder) is not None and self._call is not None:
            self._call.cancel()

    def _told(self, error: MoodstreamError) -> MoodstreamError:
        """A session that is refused to a new connection has ended for its user."""
        if (
            self._token
            and not self._is_connected
            and error.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OUT_OF_RANGE)
        ):
            message = f"the connection to {self._target} was lost, and the session can't be resumed: {error.message}"
            return NotResumedError(error.code, message, error.reason)
        return error

    def _can_retry(self, error: MoodstreamError, lost_at: float) -> bool:
        is_lost = isinstance(error, StreamEndedError) or error.code == grpc.StatusCode.UNAVAILABLE
        if not self._started.is_set():
            # Nothing has been sent yet: the session can simply begin again, if a server was there at all.
            is_begun = self._config.resumable and isinstance(error, ServerUnreachableError) and self._is_reachable()
            return is_begun and time.monotonic() < lost_at + _BEGIN_S
        in_time = time.monotonic() < lost_at + self._window_s
        return bool(self._token) and is_lost and in_time and not isinstance(error, NotResumedError)


def _was_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _failure_of(feeder: asyncio.Task[None]) -> BaseException | None:
    return feeder.exception() if feeder.done() and not feeder.cancelled() else None
