"""Rules 2: media."""

import random

import numpy as np
from moodstream.v1 import media_pb2, session_pb2

from tests.conformance.harness import (
    JPEG,
    PCM,
    RATE,
    TEXT,
    Media,
    Peer,
    assert_same,
    at,
    audio,
    builtin,
    rule,
    silence,
    span,
    statuses,
    tone,
)

AUDIO = session_pb2.SessionConfig(audio=PCM)
OPEN_AUDIO, OPEN_VIDEO = media_pb2.MODALITY_AUDIO, media_pb2.MODALITY_VIDEO


@rule("2.1")
async def repeated_messages_are_skipped(peer: Peer) -> None:
    chunks = silence(1)
    told = await peer.session(AUDIO, [*chunks[:6], chunks[2], chunks[5], *chunks[6:]])
    totals = told.totals(OPEN_AUDIO)
    assert (totals.received, totals.used, totals.skipped) == (12, 10, 2)


@rule("2.2")
async def order_within_the_lateness_does_not_matter(peer: Peer) -> None:
    clip, media = builtin(video=False)
    expected = await peer.session(clip.config, media)
    dice = random.Random(3)
    delayed = sorted(
        media,
        key=lambda one: _begin_ns(one) + (0 if _is_end(one) else dice.randrange(200_000_000)),
    )
    told = await peer.session(clip.config, delayed)
    assert_same(told.windows, expected.windows)
    assert [one.late for one in told.closed.totals] == [0, 0, 0]


@rule("2.2")
async def chunk_sizes_do_not_matter(peer: Peer) -> None:
    clip, media = builtin(video=False)
    config = session_pb2.SessionConfig(audio=clip.config.audio)
    chunks = [one for one in media if isinstance(one, media_pb2.AudioChunk)]
    pcm = np.frombuffer(b"".join(one.data for one in chunks), "<i2")
    runs = []
    for sizes in ([1600], [160, 320, 2000], [8000]):
        recut, position = [], 0
        while position < len(pcm):
            size = sizes[len(recut) % len(sizes)]
            recut.append(audio(len(recut), position / RATE, pcm[position : position + size]))
            position += size
        runs.append((await peer.session(config, recut)).windows)
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


@rule("2.3", "3.1", "3.7")
async def gaps_give_windows_without_data(peer: Peer) -> None:
    told = await peer.session(AUDIO, [audio(0, 0, tone(0.5)), audio(1, 6, tone(0.5))])
    assert [one.index for one in told.windows] == list(range(13))
    assert [one.HasField("sentiment") for one in told.windows] == [True] * 8 + [False] * 4 + [True]
    empty = told.windows[9]
    assert statuses(empty) == ["MISSING"] * 3
    assert not (empty.polarities)
    assert not (empty.emotions)
    assert not (empty.HasField("confidence"))
    assert not any(one.HasField("contribution") or one.HasField("scores") for one in empty.modalities)


@rule("2.4")
async def offsets_that_run_back(peer: Peer) -> None:
    config = session_pb2.SessionConfig(audio=PCM, text=TEXT)
    media = [
        audio(0, 0, tone(1)),
        audio(1, 0.5, tone(0.5)),
        span(0, 0.8, 0.9, "later"),
        span(1, 0.2, 0.3, "earlier"),
    ]
    told = await peer.session(config, media)
    assert told.reasons == ["OFFSET_RUNS_BACK"] * 2
    assert [one.error.field for one in told.rejected] == ["audio.start_offset", "text.start_offset"]


@rule("2.5")
async def offsets_that_make_no_sense(peer: Peer) -> None:
    call, started = await peer.begin(AUDIO)
    call.cancel()
    far = started.limits.max_gap.seconds + 10
    told = await peer.session(AUDIO, [audio(0, far, tone(0.1)), audio(1, -1, tone(0.1)), audio(2, 0, tone(0.5))])
    assert told.reasons == ["OFFSET_TOO_FAR", "OFFSET_INVALID"]
    assert len(told.windows) == 1


@rule("2.6")
async def media_beyond_limits_or_damaged(peer: Peer) -> None:
    call, started = await peer.begin(AUDIO)
    call.cancel()
    config = session_pb2.SessionConfig(audio=PCM, video=JPEG)
    large = media_pb2.AudioChunk(sequence=0, data=bytes(started.limits.max_audio_message_bytes + 2))
    damaged = media_pb2.VideoFrame(sequence=0, start_offset=at(0), data=b"\xff\xd8\xff no image")
    told = await peer.session(config, [large, damaged, audio(1, 0, tone(0.5))])
    assert told.reasons == ["MESSAGE_TOO_LARGE", "MEDIA_UNDECODABLE"]
    assert [one.rejected for one in told.closed.totals] == [1, 1, 0]


@rule("2.7")
async def modalities_that_are_not_open(peer: Peer) -> None:
    over = session_pb2.EndOfModality(modality=OPEN_AUDIO)
    frame = media_pb2.VideoFrame(sequence=0, data=b"x")
    told = await peer.session(AUDIO, [audio(0, 0, tone(0.5)), frame, over, audio(1, 0.5, tone(0.5)), over])
    assert told.reasons == ["MODALITY_NOT_CONFIGURED", "MODALITY_ENDED", "MODALITY_ENDED"]


@rule("2.8")
async def bundles_mean_what_their_parts_mean(peer: Peer) -> None:
    clip, media = builtin()
    expected = await peer.session(clip.config, media)
    told = await peer.session(clip.config, _bundled(media))
    assert_same(told.windows, expected.windows)
    assert_same(told.utterances, expected.utterances)
    assert told.closed.totals == expected.closed.totals


def _bundled(media: list[Media]) -> list[Media]:
    """Pack what is sent with each second chunk of audio, which is 200 ms, into one message."""
    packed: list[Media] = []
    bundle = media_pb2.MediaBundle()
    for one in media:
        if isinstance(one, media_pb2.VideoFrame):
            bundle.video.append(one)
        elif isinstance(one, media_pb2.TextSpan):
            bundle.text.append(one)
        elif isinstance(one, media_pb2.AudioChunk):
            bundle.audio.CopyFrom(one)
            packed.append(bundle)
            bundle = media_pb2.MediaBundle()
        else:
            if bundle.ByteSize():
                packed.append(bundle)
                bundle = media_pb2.MediaBundle()
            packed.append(one)
    return packed


@rule("2.9")
async def one_channel_of_several(peer: Peer) -> None:
    clip, media = builtin(video=False)
    chunks = [one for one in media if isinstance(one, media_pb2.AudioChunk)]
    mono = await peer.session(session_pb2.SessionConfig(audio=clip.config.audio), chunks)
    noise = np.random.default_rng(0)
    stereo = []
    for one in chunks:
        left = noise.integers(-9_000, 9_000, len(one.data) // 2).astype("<i2")
        both = np.stack([left, np.frombuffer(one.data, "<i2")], axis=1)
        stereo.append(media_pb2.AudioChunk(sequence=one.sequence, start_offset=one.start_offset, data=both.tobytes()))
    config = media_pb2.AudioConfig(
        encoding=PCM.encoding, sample_rate_hertz=RATE, audio_channel_count=2, audio_channel=1
    )
    told = await peer.session(session_pb2.SessionConfig(audio=config), stereo)
    assert_same(told.windows, mono.windows)


@rule("2.10")
async def clocks_that_are_a_little_off_are_followed(peer: Peer) -> None:
    for skew in (1 + 300e-6, 1 - 300e-6):
        # Two minutes, so that the clocks are 36 ms apart in the end.
        chunks = [audio(number, number * 0.5 * skew, tone(0.5)) for number in range(240)]
        config = session_pb2.SessionConfig(audio=PCM, results=session_pb2.ResultConfig(final_only=True))
        told = await peer.session(config, chunks)
        assert told.rejected == []
        assert told.totals(OPEN_AUDIO).used == 240
        assert len(told.windows) in (240, 241)
        assert {statuses(one)[0] for one in told.windows[:-1]} == {"USED"}


def _begin_ns(media: Media) -> int:
    if isinstance(media, session_pb2.EndOfModality):
        return 10**12
    if isinstance(media, session_pb2.EndOfUtterance):
        return media.offset.ToNanoseconds()
    assert isinstance(media, media_pb2.AudioChunk | media_pb2.VideoFrame | media_pb2.TextSpan)
    return media.start_offset.ToNanoseconds()


def _is_end(media: Media) -> bool:
    return isinstance(media, session_pb2.EndOfModality | session_pb2.EndOfUtterance | media_pb2.TextSpan)
