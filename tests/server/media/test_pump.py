"""The lanes of decoding. What decoding gives is in test_video.py and test_audio.py."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from server.media.errors import MediaError
from server.media.pump import MediaPump
from server.media.session_media import Decoded
from server.session.messages import Item, Media, Modality


class Scripted:
    """Decoders that wait for `go` at heavy messages, whose data begins with an h, and fail at those with an x."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def is_heavy(self, item: Item) -> bool:
        return isinstance(item, Media) and item.data.startswith(b"h")

    def decode(self, item: Item) -> Decoded:
        assert isinstance(item, Media)
        if item.data.startswith(b"h"):
            assert self.go.wait(10)
        if item.data.startswith(b"x"):
            raise MediaError("bad")
        return Decoded(item)


@pytest.fixture
async def pump() -> AsyncIterator[MediaPump]:
    pump = MediaPump()
    yield pump
    await pump.close()


class Session:
    def __init__(self, pump: MediaPump, media: Scripted) -> None:
        self.delivered: list[tuple[int, Decoded | Exception]] = []
        self.queue = pump.open(media, self._deliver, 64)  # type: ignore[arg-type]
        self._news = asyncio.Event()

    def _deliver(self, item: Item, _: int, decoded: Decoded | Exception) -> None:
        assert isinstance(item, Media)
        self.delivered.append((item.sequence, decoded))
        self._news.set()

    def put(self, *contents: bytes) -> None:
        for number, data in enumerate(contents):
            self.queue.put(Media(Modality.VIDEO, number, 0, data), 0)

    async def until(self, count: int) -> list[int]:
        async with asyncio.timeout(10):
            while len(self.delivered) < count:
                self._news.clear()
                await self._news.wait()
        return [number for number, _ in self.delivered]


async def test_a_neighbour_does_not_wait_for_a_heavy_image(pump: MediaPump):
    media = Scripted()
    slow, neighbour = Session(pump, media), Session(pump, media)
    slow.put(b"a", b"heavy", b"b", b"heavy", b"c")
    neighbour.put(*[b"light"] * 20)
    assert await neighbour.until(20) == list(range(20))
    assert await slow.until(1) == [0]
    media.go.set()
    assert await slow.until(5) == [0, 1, 2, 3, 4]


async def test_a_refused_message_keeps_no_frames(pump: MediaPump):
    session = Session(pump, Scripted())
    session.put(b"x")
    await session.until(1)
    error = session.delivered[0][1]
    assert isinstance(error, MediaError)
    assert (str(error), error.__traceback__, error.__cause__, error.__context__) == ("bad", None, None, None)
