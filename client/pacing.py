"""Sends messages when a live source would have: real time without drift, or as fast as they are taken."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

from client.clip import Media, Timed
from client.durations import NS_PER_S


class Pacer:
    """Maps session time to the monotonic clock. Every wait is measured from the start, so that errors do not add up."""

    def __init__(
        self,
        *,
        fast: bool = False,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.fast = fast
        self._clock = clock
        self._sleep = sleep
        self._start_ns: int | None = None

    def start(self, start_ns: int | None = None) -> None:
        """Set session time 0 to `start_ns` of the monotonic clock, or to now."""
        self._start_ns = self._clock() if start_ns is None else start_ns

    def intended_ns(self, offset_ns: int) -> int | None:
        """Return the monotonic time at which media that ends at `offset_ns` is to be sent; None before the start."""
        return None if self._start_ns is None else self._start_ns + offset_ns

    def latency_ns(self, offset_ns: int) -> int | None:
        """Return the time since media that ends at `offset_ns` was to be sent; None before the start or if `fast`."""
        intended_ns = self.intended_ns(offset_ns)
        return None if self.fast or intended_ns is None else self._clock() - intended_ns

    async def wait(self, offset_ns: int) -> int:
        """Wait until media that ends at `offset_ns` is to be sent and return how many nanoseconds late it is.

        The first wait starts the clock if `start` did not. When `fast`, only gives way to other tasks and returns 0.
        """
        if self._start_ns is None:
            self.start()
        assert self._start_ns is not None
        if self.fast:
            await self._sleep(0)
            return 0
        intended_ns = self._start_ns + offset_ns
        while (left_ns := intended_ns - self._clock()) > 0:
            await self._sleep(left_ns / NS_PER_S)
        return -left_ns


async def paced(messages: Iterator[Timed], pacer: Pacer) -> AsyncGenerator[Media, None]:
    """Yield the media of `messages` when each is due. The iterator runs in a thread, as it may decode."""
    while (timed := await asyncio.to_thread(next, messages, None)) is not None:
        await pacer.wait(timed.due_ns)
        yield timed.media
