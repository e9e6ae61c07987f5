"""The requests of a session that its server may not have taken in: what is sent again when a connection was lost."""

import asyncio
from collections import deque
from typing import Final

import grpc
from moodstream.v1.session_pb2 import StreamSentimentRequest

from client.errors import NotResumedError

MAX_KEPT_BYTES: Final = 32 * 2**20
"""Twenty minutes of 16-bit audio at 16 kHz, or some 30 s of it with large images."""


class Outbox:
    """Numbers requests from 0, hands them out in order, and goes back to one that the server does not have."""

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: deque[StreamSentimentRequest] = deque()
        self._bytes = 0
        self._first = 0
        """Number of the first request that is kept."""
        self._next = 0
        """Number of the next one to hand out."""
        self._changed = asyncio.Condition()

    async def put(self, request: StreamSentimentRequest) -> None:
        """Add a request and wait until it was handed out, so that the source is no faster than the server."""
        async with self._changed:
            self._kept.append(request)
            self._bytes += request.ByteSize()
            end = self._first + len(self._kept)
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._next >= end)

    async def take(self) -> StreamSentimentRequest:
        """Hand out the next request, as soon as there is one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._next < self._first + len(self._kept))
            request = self._kept[self._next - self._first]
            self._next += 1
            while self._bytes > self._max_bytes and self._first < self._next:
                self._drop_first()
            self._changed.notify_all()
            return request

    def forget(self, received: int) -> None:
        """Drop the first `received` requests: the server has them."""
        while self._kept and self._first < min(received, self._next):
            self._drop_first()

    async def rewind(self, received: int) -> None:
        """Go back to the first request that the server has not taken in; raises NotResumedError when it is not kept."""
        if not self._first <= received <= self._first + len(self._kept):
            message = f"the server wants request {received} again, and {self._first} is the first that is kept"
            raise NotResumedError(grpc.StatusCode.DATA_LOSS, message)
        async with self._changed:
            self._next = received
            self._changed.notify_all()

    def _drop_first(self) -> None:
        self._bytes -= self._kept.popleft().ByteSize()
        self._first += 1
