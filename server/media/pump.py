"""Decodes the media of all sessions in worker threads, a few messages of each session in turn.

One job decodes what is waiting, so that a hundred sessions cost a few hand-overs between threads and a recorded clip
can't hold up the live sessions. Images whose header says that they take long go to a lane apart, of less priority, one
at a time for each session: their session waits for them, its neighbours don't. What decoding one image can cost at most
is bounded by its header too (`images.py`), so threads are enough here, where OpenCV does not hold the interpreter's
lock; a process would cost the copying of every image. Whole media files are another matter: see `clip_decoders.py`.
"""

import asyncio
import logging
import os
import threading
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
_Waiting = tuple[Item, int, bool]
"""A message, when it came, and whether it is heavy."""
_Result = tuple[Item, int, Decoded | Exception]


class MediaQueue:
    """Messages of one session that wait for decoding."""

    def __init__(self, media: SessionMedia, deliver: Deliver, high_water: int, wake: asyncio.Event) -> None:
        self._media = media
        self._deliver = deliver
        self._high_water = high_water
        self._wake = wake
        self._waiting: deque[_Waiting] = deque()
        self.is_busy = False
        """True while a heavy message of this session is being decoded: those behind it wait."""
        self._room = asyncio.Event()
        self._room.set()

    def put(self, item: Item, arrived_ns: int) -> None:
        """Append a message; it will be delivered exactly once, decoded or with the exception that prevented it."""
        self._waiting.append((item, arrived_ns, self._media.is_heavy(item)))
        if len(self._waiting) >= self._high_water:
            self._room.clear()
        self._wake.set()

    async def room(self) -> None:
        """Wait until fewer than `high_water` messages are waiting."""
        await self._room.wait()

    def take(self) -> list[_Waiting]:
        """Remove the messages of the next turn, up to the first one that is heavy."""
        items: list[_Waiting] = []
        while self._waiting and len(items) < _ITEMS_PER_TURN and not self.is_busy and not self._is_heavy_next():
            items.append(self._popped())
        return items

    def take_heavy(self) -> list[_Waiting]:
        """Remove the next message if it is heavy; the session is busy then."""
        if self.is_busy or not self._waiting or not self._is_heavy_next():
            return []
        self.is_busy = True
        return [self._popped()]

    def _is_heavy_next(self) -> bool:
        return self._waiting[0][2]

    def _popped(self) -> _Waiting:
        item = self._waiting.popleft()
        if len(self._waiting) < self._high_water:
            self._room.set()
        return item

    def decode(self, items: list[_Waiting]) -> list[_Result]:
        """Decode messages in the worker thread. One that fails says so and does not hold up the others."""
        return [(item, arrived_ns, self._decode(item)) for item, arrived_ns, _ in items]

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
        heavy = max(1, (os.cpu_count() or 1) // 2)
        self._heavy = ThreadPoolExecutor(heavy, thread_name_prefix="media-heavy", initializer=_lower_priority)
        self._heavy_tasks: set[asyncio.Task[None]] = set()
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
        tasks = (self._task, *self._heavy_tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._executor.shutdown()
        self._heavy.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._start_heavy()
            while turn := [(queue, items) for queue in self._queues if (items := queue.take())]:
                results = await loop.run_in_executor(self._executor, _decode_turn, turn)
                for queue, decoded in results:
                    if queue in self._queues:
                        self._deliver(queue, decoded)
                del results, turn  # they hold media, and the next turn may come much later
                self._start_heavy()

    def _start_heavy(self) -> None:
        for queue in self._queues:
            if items := queue.take_heavy():
                task = asyncio.create_task(self._decode_heavy(queue, items))
                self._heavy_tasks.add(task)
                task.add_done_callback(self._heavy_tasks.discard)

    async def _decode_heavy(self, queue: MediaQueue, items: list[_Waiting]) -> None:
        decoded = await asyncio.get_running_loop().run_in_executor(self._heavy, queue.decode, items)
        queue.is_busy = False
        if queue in self._queues:
            self._deliver(queue, decoded)
        self._wake.set()

    @staticmethod
    def _deliver(queue: MediaQueue, decoded: list[_Result]) -> None:
        try:
            queue.deliver(decoded)
        except Exception:
            # A defect in one session's handling must not stop the pump of all the others.
            logger.exception("a session could not take in its decoded media")


def _lower_priority() -> None:
    """Give the running thread less of the processor than the event loop and the models get (Linux: by thread)."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def _bare(error: Exception) -> Exception:
    """Cut off the frames that an exception keeps, and in them the message: hundreds of them wait to be told."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _decode_turn(turn: list[tuple[MediaQueue, list[_Waiting]]]) -> list[tuple[MediaQueue, list[_Result]]]:
    return [(queue, queue.decode(items)) for queue, items in turn]
