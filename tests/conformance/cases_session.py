"""Rules 1: the life of a session, and 8: calls."""

import grpc
import numpy as np
from moodstream.v1 import clip_pb2, error_pb2, media_pb2, result_pb2, service_pb2, session_pb2

from tests.conformance.harness import (
    CLOSE,
    JPEG,
    PCM,
    TEXT,
    Peer,
    Request,
    Told,
    at,
    audio,
    builtin,
    failure_of,
    read_all,
    request_of,
    rule,
    silence,
    span,
    tone,
)

AUDIO = session_pb2.SessionConfig(audio=PCM)
GARBAGE = b"\xff\xff\xff"


@rule("1.1")
async def the_first_message_is_config_or_resume(peer: Peer) -> None:
    for requests in ([], [Request()], [request_of(audio(0, 0, tone(0.1)))], [CLOSE]):
        failure = await peer.failure(requests)
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CONFIG_MISSING")


@rule("1.2")
async def started_comes_first_with_the_defaults(peer: Peer) -> None:
    call, started = await peer.begin(session_pb2.SessionConfig(audio=PCM, video=JPEG))
    assert started.session_id
    assert started.config.lateness == at(0.3)
    assert started.config.results.interval == at(0.5)
    outputs = {session_pb2.OUTPUT_POLARITY, session_pb2.OUTPUT_EMOTION}
    assert set(started.config.results.outputs) == outputs
    assert (started.config.audio.audio_channel_count, started.config.video.max_faces) == (1, 1)
    assert started.limits.max_audio_message_bytes > 0
    assert started.engine in session_pb2.Engine.values()[1:]
    assert {"fusion", "audio_encoder"} <= {model.model for model in started.models}
    call.cancel()


@rule("1.3")
async def a_bad_configuration_names_its_field(peer: Peer) -> None:
    config = session_pb2.SessionConfig
    results = session_pb2.ResultConfig
    pause = session_pb2.EndpointingConfig
    bad = {
        "config": config(),
        "config.audio.encoding": config(audio=media_pb2.AudioConfig(sample_rate_hertz=16_000)),
        "config.video.encoding": config(video=media_pb2.VideoConfig()),
        "config.lateness": config(audio=PCM, lateness=at(6)),
        "config.results.interval": config(audio=PCM, results=results(interval=at(0.7))),
        "config.results.smoothing": config(audio=PCM, results=results(smoothing=at(11))),
        "config.results.outputs[0]": config(audio=PCM, results=results(outputs=[session_pb2.OUTPUT_UNSPECIFIED])),
        "config.endpointing": config(text=TEXT, endpointing=pause()),
        "config.endpointing.speech_end_timeout": config(audio=PCM, endpointing=pause(speech_end_timeout=at(9))),
    }
    for field, one in bad.items():
        failure = await peer.failure([Request(config=one)])
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CONFIG_INVALID"), field
        assert failure.fields == [field]


@rule("1.4", "1.5")
async def closed_is_last_and_its_totals_add_up(peer: Peer) -> None:
    clip, media = builtin()
    media = [*media[:40], media[10], *media[40:]]  # something twice
    told = await peer.session(clip.config, media)
    assert told.closed.reason == session_pb2.CLOSE_REASON_CLIENT
    assert [one.modality for one in told.closed.totals] == media_pb2.Modality.values()[1:]
    for one in told.closed.totals:
        fates = one.used + one.skipped + one.late + one.dropped + one.rejected + one.replaced
        assert one.received == fates > 0
    assert told.closed.results == len(told.of(result_pb2.SCOPE_WINDOW, final=False))
    half_closed = Told(await peer.exchange([Request(config=clip.config), *map(request_of, media)]))
    assert half_closed.closed.totals == told.closed.totals


@rule("1.6")
async def what_can_not_be_used_is_rejected_and_the_session_goes_on(peer: Peer) -> None:
    media = [audio(0, 0, tone(0.5)), media_pb2.AudioChunk(sequence=1, start_offset=at(0.5), data=b"odd")]
    told = await peer.session(AUDIO, [*media, audio(2, 1, tone(0.5))])
    (rejected,) = told.rejected
    assert (rejected.modality, rejected.sequence) == (media_pb2.MODALITY_AUDIO, 1)
    assert (rejected.error.reason, rejected.error.field) == (error_pb2.ERROR_REASON_MEDIA_UNDECODABLE, "audio.data")
    assert len(told.windows) == 3


@rule("1.7")
async def malformed_bytes_close_the_session_with_its_totals(peer: Peer) -> None:
    method = "/moodstream.v1.SentimentService/StreamSentiment"
    call = peer.channel.stream_stream(method, response_deserializer=session_pb2.StreamSentimentResponse.FromString)(
        metadata=peer.metadata
    )
    await call.write(Request(config=AUDIO).SerializeToString())
    await call.write(request_of(audio(0, 0, tone(0.2))).SerializeToString())
    await call.write(GARBAGE)
    responses: list[session_pb2.StreamSentimentResponse] = []

    async def read() -> None:
        while (response := await call.read()) is not grpc.aio.EOF:
            responses.append(response)

    failure = await failure_of(read())
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_MALFORMED")
    closed = responses[-1].closed
    assert closed.reason == session_pb2.CLOSE_REASON_ERROR
    assert closed.error.reason == error_pb2.ERROR_REASON_MESSAGE_MALFORMED
    assert closed.totals[0].received == 1


@rule("1.8")
async def what_belongs_to_no_modality_is_rejected_too(peer: Peer) -> None:
    unknown = session_pb2.EndOfModality(modality=media_pb2.MODALITY_UNSPECIFIED)
    told = Told(
        await peer.exchange([Request(config=AUDIO), Request(config=AUDIO), Request(), request_of(unknown), CLOSE])
    )
    assert told.reasons == ["MESSAGE_UNEXPECTED", "MESSAGE_EMPTY", "MODALITY_NOT_CONFIGURED"]
    assert not any(one.HasField("sequence") for one in told.rejected)


@rule("8.1")
async def failures_say_why_for_programs(peer: Peer) -> None:
    failure = await peer.failure([])
    assert (failure.reason, failure.details["ErrorInfo"].domain) == ("CONFIG_MISSING", "moodstream")
    requests = [clip_pb2.AnalyzeClipRequest(config=clip_pb2.ClipConfig(file=clip_pb2.MediaFile()))]
    words = clip_pb2.AnalyzeClipRequest(text=span(0, 0, 1, "no data"))
    assert (await failure_of(peer.analyze([*requests, words]))).reason == "MESSAGE_UNEXPECTED"


@rule("8.2")
async def cancelled_calls_leave_nothing_behind(peer: Peer) -> None:
    # Twice as often as there is room for sessions on a small server; here at least often enough to notice.
    for number in range(40):
        call, _ = await peer.begin(AUDIO)
        if number % 2:
            await call.write(request_of(audio(0, 0, tone(1))))
            assert (await call.read()).HasField("result")
        assert call.cancel()
        assert await call.code() == grpc.StatusCode.CANCELLED
    told = await peer.session(AUDIO, silence(1))
    assert len(told.windows) == 2


@rule("8.2")
async def deadlines_are_kept(peer: Peer) -> None:
    call = peer.open(timeout=0.3)
    await call.write(Request(config=AUDIO))
    assert (await call.read()).HasField("started")
    assert (await failure_of(read_all(call))).code == grpc.StatusCode.DEADLINE_EXCEEDED


@rule("8.3")
async def large_messages(peer: Peer) -> None:
    config = clip_pb2.AnalyzeClipRequest(config=clip_pb2.ClipConfig(file=clip_pb2.MediaFile()))
    fate = {15 * 2**20: grpc.StatusCode.INVALID_ARGUMENT, 17 * 2**20: grpc.StatusCode.RESOURCE_EXHAUSTED}
    for size, expected in fate.items():
        failure = await failure_of(peer.analyze([config, clip_pb2.AnalyzeClipRequest(data=bytes(size))]))
        assert failure.code == expected, size


@rule("8.4")
async def unknown_methods(peer: Peer) -> None:
    for method in ("/moodstream.v1.SentimentService/Nothing", "/moodstream.v2.SentimentService/GetServerInfo"):
        failure = await failure_of(peer.channel.unary_unary(method)(b"", metadata=peer.metadata))
        assert failure.code == grpc.StatusCode.UNIMPLEMENTED


@rule("8.5")
async def server_info(peer: Peer) -> None:
    info = await peer.stub.GetServerInfo(service_pb2.GetServerInfoRequest(), metadata=peer.metadata)
    call, started = await peer.begin(AUDIO)
    assert info.limits == started.limits
    assert info.engine == started.engine
    await call.write(request_of(audio(0, 0, tone(0.5))))
    result = (await call.read()).result
    assert [one.emotion for one in result.emotions] == list(info.emotions)
    assert [one.polarity for one in result.polarities] == list(info.polarities)
    assert [one.modality for one in result.modalities] == list(info.modalities)
    assert np.isclose(result.confidence, max(one.probability for one in result.polarities))
    call.cancel()
