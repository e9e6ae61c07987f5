import asyncio

from moodstream.v1.media_pb2 import TextSpan

from client.clip import Timed
from client.pacing import Pacer, paced


class FakeTime:
    """A clock that only sleeping moves, and that oversleeps by a fixed time, as real ones do."""

    def __init__(self, oversleep_ns: int = 0) -> None:
        self.now_ns = 5_000_000_000
        self.oversleep_ns = oversleep_ns

    def clock(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9) + self.oversleep_ns
        await asyncio.sleep(0)


async def test_waits_are_measured_from_the_start_so_that_oversleeping_does_not_add_up():
    fake = FakeTime(oversleep_ns=3_000_000)
    pacer = Pacer(clock=fake.clock, sleep=fake.sleep)
    lags = [await pacer.wait(chunk * 100_000_000) for chunk in range(1, 101)]
    assert lags == [3_000_000] * 100
    assert fake.now_ns == 5_000_000_000 + 10_000_000_000 + 3_000_000


async def test_a_message_that_is_overdue_is_not_waited_for_and_its_lag_is_told():
    fake = FakeTime()
    pacer = Pacer(clock=fake.clock, sleep=fake.sleep)
    pacer.start()
    fake.now_ns += 700_000_000
    assert await pacer.wait(500_000_000) == 200_000_000
    assert fake.now_ns == 5_700_000_000


async def test_intended_times_and_latencies_count_from_the_start():
    fake = FakeTime()
    pacer = Pacer(clock=fake.clock, sleep=fake.sleep)
    assert pacer.intended_ns(0) is None
    assert pacer.latency_ns(0) is None
    pacer.start(4_000_000_000)
    assert pacer.intended_ns(500_000_000) == 4_500_000_000
    assert pacer.latency_ns(500_000_000) == 500_000_000


async def test_fast_never_waits_and_has_no_latency():
    fake = FakeTime()
    pacer = Pacer(fast=True, clock=fake.clock, sleep=fake.sleep)
    assert [await pacer.wait(second * 1_000_000_000) for second in range(5)] == [0] * 5
    assert fake.now_ns == 5_000_000_000
    assert pacer.latency_ns(0) is None


async def test_paced_yields_every_message_at_its_time():
    fake = FakeTime()
    pacer = Pacer(clock=fake.clock, sleep=fake.sleep)
    timed = [Timed(due_ns, TextSpan(sequence=due_ns)) for due_ns in (0, 40_000_000, 40_000_000, 2_000_000_000)]
    sent = [(fake.now_ns - 5_000_000_000, media.sequence) async for media in paced(iter(timed), pacer)]
    assert sent == [(due_ns, due_ns) for due_ns in (0, 40_000_000, 40_000_000, 2_000_000_000)]
