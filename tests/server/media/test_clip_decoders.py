"""The process that decodes clips, killed, starved and reused. What comes out of a file is in test_clip.py."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import numpy as np
import psutil
import pytest

from contract.timing import NS_PER_S
from server.media.clip import ClipAudio, read_clip
from server.media.clip_decoders import ClipDecoders
from server.media.errors import MediaError
from tests.server.media.test_clip import make_clip

MIB = 1024 * 1024


@pytest.fixture
async def decoders() -> AsyncIterator[ClipDecoders]:
    _others.clear()  # Servers of earlier tests may keep workers of their own.
    _others.update(workers())
    decoders = ClipDecoders()
    yield decoders
    await decoders.close()
    assert workers() == []


_others: set[psutil.Process] = set()


def workers() -> list[psutil.Process]:
    children = [child for child in psutil.Process().children() if "server.media.clip_worker" in child.cmdline()]
    return [child for child in children if child not in _others]


def opened(decoders: ClipDecoders, data: bytes, cpu_s: float = 60):
    return decoders.open(data, 64 * MIB, 60 * NS_PER_S, cpu_s)


async def read_all(decoders: ClipDecoders, data: bytes, cpu_s: float = 60, killing: bool = False) -> None:
    async with opened(decoders, data, cpu_s) as clip:
        async for _ in clip:
            if killing:
                workers()[0].kill()


async def test_the_same_pieces_as_in_process(decoders: ClipDecoders):
    data = make_clip()
    async with opened(decoders, data) as clip:
        pieces = [piece async for piece in clip]
    with read_clip(data) as expected:
        assert (clip.audio, clip.video) == (expected.audio, expected.video)
        for one, other in zip(pieces, expected, strict=True):
            assert (type(one), one.start_offset_ns) == (type(other), other.start_offset_ns)
            mine, its = (
                (one.samples, other.samples)
                if isinstance(one, ClipAudio) and isinstance(other, ClipAudio)
                else (one.image, other.image)
            )
            np.testing.assert_array_equal(mine, its)


async def test_a_worker_is_used_again_even_after_a_file_that_it_refused(decoders: ClipDecoders):
    with pytest.raises(MediaError, match="not a media file"):
        async with opened(decoders, b"no clip at all"):
            pass
    (first,) = workers()
    async with opened(decoders, make_clip()) as clip:
        assert [piece async for piece in clip]
    assert workers() == [first]


async def test_leaving_early_ends_the_decoding_at_once(decoders: ClipDecoders):
    data = make_clip(seconds=20, fps=50)
    async with opened(decoders, data) as clip:
        await anext(aiter(clip))
        (worker,) = workers()
    assert not worker.is_running()


async def test_a_cancelled_call_ends_it_too(decoders: ClipDecoders):
    async def wait_for_ever() -> None:
        async with opened(decoders, make_clip(seconds=20, fps=50)):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait_for_ever())
    while not workers():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert workers() == []


async def test_a_decoder_that_dies_is_an_error_of_its_clip_alone(decoders: ClipDecoders):
    data = make_clip(seconds=20, fps=50)
    with pytest.raises(MediaError, match="within its bounds"):
        await read_all(decoders, data, killing=True)
    await read_all(decoders, data)


def test_the_budget_of_cpu_time_holds():
    endless = "from server.media.clip_worker import _allow; _allow(0)\nwhile True: pass"
    ended = subprocess.run([sys.executable, "-c", endless], timeout=60)
    assert ended.returncode == -signal.SIGXCPU
