"""Rules 6: resuming; and 1.9, notices."""

from typing import Any

import grpc
from moodstream.v1 import session_pb2

from tests.conformance.harness import (
    CLOSE,
    TEXT,
    Peer,
    Request,
    Told,
    failure_of,
    read_all,
    request_of,
    rule,
    span,
)

CONFIG = session_pb2.SessionConfig(text=TEXT, resumable=True)


def word(number: int) -> Request:
    return request_of(span(number, 0.6 * number, 0.6 * number + 0.5, f"word{number}"))


async def resume(peer: Peer, token: str, received: int) -> Any:
    call = peer.open()
    await call.write(Request(resume=session_pb2.ResumeSession(resume_token=token, responses_received=received)))
    return call


@rule("6.1")
async def only_resumable_sessions_have_a_token(peer: Peer) -> None:
    for config, has_token in ((CONFIG, True), (session_pb2.SessionConfig(text=TEXT), False)):
        call, started = await peer.begin(config)
        assert bool(started.resume_token) == has_token
        call.cancel()


@rule("6.2")
async def what_was_missed_comes_again(peer: Peer) -> None:
    first, started = await peer.begin(CONFIG)
    for number in range(4):
        await first.write(word(number))
    before = [await first.read() for _ in range(3)]
    taken_in = before[-1].requests_received
    first.cancel()
    second = await resume(peer, started.resume_token, 2)
    resumed = (await second.read()).resumed
    assert taken_in <= resumed.requests_received <= 4
    again = [await second.read() for _ in range(2)]
    assert [one.result.id for one in again] == [one.result.id for one in before[1:]]
    for number in range(resumed.requests_received, 6):
        await second.write(word(number))
    await second.write(CLOSE)
    told = Told([*before, *await read_all(second)])
    assert [one.index for one in told.windows] == list(range(len(told.windows)))
    assert len({(one.id, one.revision) for one in told.results}) == len(told.results)
    assert told.closed.totals[2].received == told.closed.totals[2].used == 6


@rule("6.3")
async def unknown_tokens(peer: Peer) -> None:
    for token in ("nobody's", ""):
        failure = await failure_of((await resume(peer, token, 0)).read())
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")


@rule("6.4")
async def the_newest_connection_has_the_session(peer: Peer) -> None:
    old, started = await peer.begin(CONFIG)
    await old.write(word(0))
    new = await resume(peer, started.resume_token, 1)
    assert (await new.read()).HasField("resumed")
    failure = await failure_of(read_all(old))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "SESSION_RESUMED")
    await new.write(CLOSE)
    assert (await read_all(new))[-1].HasField("closed")


@rule("6.5")
async def responses_that_are_no_longer_kept(peer: Peer) -> None:
    first, started = await peer.begin(CONFIG)
    await first.write(word(0))
    await first.read()
    await first.write(Request(text=word(1).text, responses_received=2))
    await first.read()
    for received in (1, 99):
        failure = await failure_of(read_all(await resume(peer, started.resume_token, received)))
        assert (failure.code, failure.reason) == (grpc.StatusCode.OUT_OF_RANGE, "RESUME_GAP")
    last = await resume(peer, started.resume_token, 2)
    await last.write(CLOSE)
    assert (await read_all(last))[-1].HasField("closed")


@rule("6.6")
async def the_end_can_be_missed(peer: Peer) -> None:
    first, started = await peer.begin(CONFIG)
    await first.write(word(0))
    await first.write(CLOSE)
    told = await read_all(first)
    second = await resume(peer, started.resume_token, 1)
    assert (await second.read()).resumed.requests_received == 2
    assert [one.WhichOneof("response") for one in await read_all(second)] == [
        one.WhichOneof("response") for one in told
    ]
