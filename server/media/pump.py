"""Decodes the media of all sessions in one worker thread, a few messages of each session in turn.

One job decodes what is waiting, so that a hundred sessions cost a few hand-overs between threads and a recorded clip
can't hold up the live sessions.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from server.logs import RateLimit
from server.media.errors import MediaError
from server.media.session_media import Decoded, SessionMedia
from server.session.messages import Item

logger = logging.getLogger(__name__)
logger.addFilter(RateLimit())

_ITEMS_PER_TURN = 4
Deliver = Callable[[Item, int, Decoded | Exception], None]
"""Takes a message, the time that `put` was given with it, and what came out of it."""
_Waiting = tuple[Item, int]
_Result = tuple[Item, int, Decoded | Exception]


class MediaQueue:
    """Messages of one session that wait for decoding."""

    def __init__(self, media: SessionMedia, deliver: Deliver, high_water: int, wake: asyncio.Event) -> None:
        self._media = media
        self._deliver = deliver
        self._high_water = high_water
        self._wake = wake
        self._waiting: deque[_Waiting] = deque()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, item: Item, arrived_ns: int) -> None:
        """Append a message; it will be delivered exactly once, decoded or with the exception that prevented it."""
        self._waiting.append((item, arrived_ns))
        if len(self._waiting) >= self._high_water:
            self._room.clear()
        self._wake.set()

    async def room(self) -> None:
        """Wait until fewer than `high_water` messages are waiting."""
        await self._room.wait()

    def take(self) -> list[_Waiting]:
        """Remove the messages of the next turn."""
        items = [self._waiting.popleft() for _ in range(min(_ITEMS_PER_TURN, len(self._waiting)))]
        if len(self._waiting) < self._high_water:
            self._room.set()
        return items

    def decode(self, items: list[_Waiting]) -> list[_Result]:
        """Decode messages in the worker thread. One that fails says so and does not hold up the others."""
        return [(item, arrived_ns, self._decode(item)) for item, arrived_ns in items]

    def deliver(self, results: list[_Result]) -> None:
        """Hand decoded messages to the session."""
        for item, arrived_ns, decoded in results:
            self._deliver(item, arrived_ns, decoded)

    def _decode(self, item: Item) -> Decoded | Exception:
        try:
            return self._media.decode(item)
        except MediaError as error:
            return _bare(error)
        except Exception as error:
            logger.exception("decoding failed")
            return _bare(error)


class MediaPump:
    """The worker thread and its loop. Create it in the event loop's thread; call `close` at the end."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="media")
        self._queues: set[MediaQueue] = set()
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="media-pump")

    def open(self, media: SessionMedia, deliver: Deliver, high_water: int) -> MediaQueue:
        """Add a session. `deliver` is called in the event loop's thread and must not raise."""
        queue = MediaQueue(media, deliver, high_water, self._wake)
        self._queues.add(queue)
        return queue

    def remove(self, queue: MediaQueue) -> None:
        """Forget a session; what still waits is not delivered."""
        self._queues.discard(queue)

    async def close(self) -> None:
        """Stop the worker thread."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._executor.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while turn := [(queue, items) for queue in self._queues if (items := queue.take())]:
                results = await loop.run_in_executor(self._executor, _decode_turn, turn)
                for queue, decoded in results:
                    if queue in self._queues:
                        self._deliver(queue, decoded)
                del results, turn  # they hold media, and the next turn may come much later

    @staticmethod
    def _deliver(queue: MediaQueue, decoded: list[_Result]) -> None:
        try:
            queue.deliver(decoded)
        except Exception:
            # A defect in one session's handling must not stop the pump of all the others.
            logger.exception("a session could not take in its decoded media")


def _bare(error: Exception) -> Exception:
    """Cut off the frames that an exception keeps, and in them the message: hundreds of them wait to be told."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _decode_turn(turn: list[tuple[MediaQueue, list[_Waiting]]]) -> list[tuple[MediaQueue, list[_Result]]]:
    return [(queue, queue.decode(items)) for queue, items in turn]
