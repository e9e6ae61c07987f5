"""A session under loss, repetition, delay and broken connections, driven by a plain gRPC client that knows the rules.

Whatever happens on the way: totals add up, what is final never changes, nothing comes twice, and the results are those
of a recorded clip with the same messages.
"""

import queue
import threading
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from moodstream.v1 import clip_pb2, media_pb2, result_pb2, service_pb2_grpc, session_pb2
from moodstream.v1.session_pb2 import StreamSentimentRequest as Request

from loadtest.processes import spawned_server

RATE = 16_000
CHUNK_MS = 250
MAX_DELAYED = 4
WORDS = ("wonderful", "terrible", "I love it", "what a mess", "so happy", "I hate this")


@pytest.fixture(scope="module")
async def address() -> AsyncIterator[str]:
    """The address of a server in a process of its own: the machine below is synchronous."""
    async with spawned_server(["--engine", "onnxruntime"]) as server:
        yield server.target


def at(ms: int) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(ms)
    return duration


CONFIG = session_pb2.SessionConfig(
    audio=media_pb2.AudioConfig(encoding=media_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=RATE),
    text=media_pb2.TextConfig(),
    lateness=at(3_000),
    resumable=True,
)


class Connection:
    """One stream; its responses are collected in the background."""

    def __init__(self, stub, first: Request) -> None:
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self.send(first)
        self._call = stub.StreamSentiment(iter(self._requests.get, None))
        self.responses: list[session_pb2.StreamSentimentResponse] = []
        self._begun = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._begun.wait(20)

    def send(self, request: Request | None) -> None:
        self._requests.put(request)

    def cut(self) -> None:
        self._call.cancel()
        self.send(None)
        self.join()

    def join(self) -> None:
        self._reader.join(30)
        assert not self._reader.is_alive()

    def _read(self) -> None:
        try:
            for response in self._call:
                self.responses.append(response)
                self._begun.set()
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.CANCELLED:
                raise


class SessionMachine(RuleBasedStateMachine):
    """A client with a source of audio and words, and a bad network."""

    address = ""

    @initialize()
    def begin(self) -> None:
        self.channel = grpc.insecure_channel(self.address)
        self.stub = service_pb2_grpc.SentimentServiceStub(self.channel)
        self.sent: list[Request] = []
        """All requests of the session after its configuration."""
        self.taken: list[Request] = []
        """What a recording of the session holds: every message once, in order."""
        self.responses: list[session_pb2.StreamSentimentResponse] = []
        self.delayed: list[Request] = []
        self.chunks = self.words = self.ends = self.time_ms = 0
        self.spoken_ms = -1
        self.connection = Connection(self.stub, Request(config=CONFIG))

    @rule(is_lost=st.sampled_from([False] * 7 + [True]), is_delayed=st.booleans())
    def audio(self, is_lost: bool, is_delayed: bool) -> None:
        noise = np.random.default_rng(self.chunks).integers(-4_000, 4_000, RATE * CHUNK_MS // 1000)
        data = noise.astype("<i2").tobytes()
        chunk = media_pb2.AudioChunk(sequence=self.chunks, start_offset=at(self.time_ms), data=data)
        self.chunks += 1
        self.time_ms += CHUNK_MS
        if is_lost:
            return
        self.taken.append(Request(audio=chunk))
        if is_delayed and len(self.delayed) < MAX_DELAYED:
            self.delayed.append(Request(audio=chunk))
        else:
            self._send(Request(audio=chunk))
        if self.delayed and self.time_ms - self.delayed[0].audio.start_offset.ToMilliseconds() > 1_500:
            self.deliver()

    @precondition(lambda self: self.delayed)
    @rule()
    def deliver(self) -> None:
        self._send(self.delayed.pop(0))

    @precondition(lambda self: self.spoken_ms < self.time_ms)
    @rule(text=st.sampled_from(WORDS), guesses=st.integers(0, 2), ends=st.booleans())
    def speak(self, text: str, guesses: int, ends: bool) -> None:
        """Words are sent when they are said: before the audio that makes their window final."""
        self.spoken_ms = self.time_ms
        for number in range(guesses + 1):
            is_final = number == guesses
            span = media_pb2.TextSpan(
                sequence=self.words,
                start_offset=at(self.time_ms),
                duration=at(200),
                text=text if is_final else "no idea",
                hypothesis_id=5,
                is_final=is_final,
            )
            self.words += 1
            self.taken.append(Request(text=span))
            self._send(Request(text=span))
        if ends:
            request = Request(end_of_utterance=session_pb2.EndOfUtterance(offset=at(self.time_ms + 200)))
            self.taken.append(request)
            self._send(request)

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        again = data.draw(st.sampled_from(self.sent[-6:]))
        if again.HasField("audio"):
            self._send(again)

    @rule()
    def break_and_resume(self) -> None:
        self.connection.cut()
        self._collect()
        started = self.responses[0].started
        resume = session_pb2.ResumeSession(resume_token=started.resume_token, responses_received=len(self.responses))
        self.connection = Connection(self.stub, Request(resume=resume))
        received = self.connection.responses[0].resumed.requests_received
        assert received <= len(self.sent)
        for request in self.sent[received:]:
            self.connection.send(request)

    def teardown(self) -> None:
        if not hasattr(self, "connection"):
            return
        for request in self.delayed:
            self._send(request)
        self._send(Request(close=session_pb2.CloseSession()))
        self.connection.send(None)
        self.connection.join()
        self._collect()
        self._check()
        self.channel.close()

    def _send(self, request: Request) -> None:
        self.sent.append(request)
        self.connection.send(request)

    def _collect(self) -> None:
        self.responses += [one for one in self.connection.responses if not one.HasField("resumed")]

    def _check(self) -> None:
        closed = self.responses[-1].closed
        assert closed.reason == session_pb2.CLOSE_REASON_CLIENT
        sent = {name: sum(one.HasField(name) for one in self.sent) for name in ("audio", "text")}
        for totals, received in zip(closed.totals, (sent["audio"], 0, sent["text"]), strict=True):
            fates = totals.used + totals.skipped + totals.late + totals.dropped + totals.rejected + totals.replaced
            assert totals.received == fates == received
        assert (closed.totals[0].late, closed.totals[0].rejected) == (0, 0)
        results = [one.result for one in self.responses if one.HasField("result")]
        final: set[str] = set()
        revisions: dict[str, int] = {}
        for one in results:
            assert one.id not in final
            assert one.revision == revisions.get(one.id, -1) + 1
            revisions[one.id] = one.revision
            if one.is_final:
                final.add(one.id)
        assert set(revisions) == final
        recorded = self._clip()
        for scope, expected in (
            (result_pb2.SCOPE_WINDOW, recorded.windows),
            (result_pb2.SCOPE_UTTERANCE, recorded.utterances),
        ):
            told = [one for one in results if one.is_final and one.scope == scope]
            assert [self._shape(one) for one in told] == [self._shape(one) for one in expected]
            for one, other in zip(told, expected, strict=True):
                assert one.sentiment == pytest.approx(other.sentiment, abs=1e-3)

    def _clip(self) -> clip_pb2.AnalyzeClipResponse:
        fields = [(one.WhichOneof("request"), one) for one in self.taken]
        config = clip_pb2.AnalyzeClipRequest(config=clip_pb2.ClipConfig(session=CONFIG))
        media = [clip_pb2.AnalyzeClipRequest(**{name: getattr(one, name)}) for name, one in fields]
        return self.stub.AnalyzeClip(iter([config, *media]))

    @staticmethod
    def _shape(one: result_pb2.SentimentResult) -> tuple:
        times = one.start_offset.ToMilliseconds(), one.end_offset.ToMilliseconds()
        return one.id, times, [part.status for part in one.modalities], one.HasField("sentiment")


def test_whatever_the_network_does(address: str):
    class Machine(SessionMachine):
        pass

    Machine.address = address
    limits = settings(
        max_examples=40,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
        database=None,
    )
    run_state_machine_as_test(Machine, settings=limits)
