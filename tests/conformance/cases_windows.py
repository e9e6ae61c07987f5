"""Rules 3: windows."""

import itertools

from moodstream.v1 import media_pb2, result_pb2, session_pb2

from tests.conformance.harness import PCM, TEXT, Peer, Told, at, builtin, rule, scores, shape, silence, span, statuses


def with_results(config: session_pb2.SessionConfig, **fields: object) -> session_pb2.SessionConfig:
    changed = session_pb2.SessionConfig()
    changed.CopyFrom(config)
    changed.results.CopyFrom(session_pb2.ResultConfig(**fields))  # type: ignore[arg-type]
    return changed


async def spoken(peer: Peer, **fields: object) -> Told:
    """The built-in clip without its images."""
    clip, media = builtin(video=False)
    return await peer.session(with_results(clip.config, **fields), media)


@rule("3.1")
async def a_window_every_interval(peer: Peer) -> None:
    usual = await spoken(peer)
    for interval_s in (1, 2):
        told = await spoken(peer, interval=at(interval_s))
        ends = [one.end_offset.ToMilliseconds() for one in told.windows]
        assert ends[:-1] == [1000 * interval_s * (number + 1) for number in range(len(ends) - 1)]
        assert ends[-1] >= 9_000
        by_end = {one.end_offset.ToNanoseconds(): one for one in usual.windows}
        same = [by_end[one.end_offset.ToNanoseconds()] for one in told.windows[:-1]]
        assert abs(scores(told.windows[:-1]) - scores(same)).max() < 1e-3
    for number, one in enumerate(usual.windows):
        assert one.end_offset.ToMilliseconds() == 500 * (number + 1)
        assert one.start_offset.ToMilliseconds() == max(0, 500 * (number + 1) - 4000)


@rule("3.2")
async def revisions_count_up_to_a_final_one(peer: Peer) -> None:
    told = await spoken(peer)
    by_id: dict[str, list[result_pb2.SentimentResult]] = {}
    for one in told.results:
        by_id.setdefault(one.id, []).append(one)
    for revisions in by_id.values():
        assert [one.revision for one in revisions] == list(range(len(revisions)))
        assert [one.is_final for one in revisions] == [False] * (len(revisions) - 1) + [True]
        assert len({(one.scope, one.index) for one in revisions}) == 1
    assert {one.scope for one in told.results} == {result_pb2.SCOPE_WINDOW, result_pb2.SCOPE_UTTERANCE}
    assert told.closed.summary.id not in by_id


@rule("3.3")
async def final_only(peer: Peer) -> None:
    usual, told = await spoken(peer), await spoken(peer, final_only=True)
    assert all(one.is_final for one in told.results)
    assert shape(told.results) == shape(one for one in usual.results if one.is_final)


@rule("3.4")
async def outputs(peer: Peer) -> None:
    only = {
        session_pb2.OUTPUT_POLARITY: (3, 0, 0),
        session_pb2.OUTPUT_EMOTION: (0, 7, 0),
        session_pb2.OUTPUT_EMBEDDING: (0, 0, 128),
    }
    for output, expected in only.items():
        told = await spoken(peer, outputs=[output], final_only=True)
        for one in (told.windows[6], told.utterances[0]):
            assert one.HasField("sentiment")
            sizes = len(one.polarities), len(one.emotions), len(one.modalities[0].embedding)
            assert sizes == expected
            assert len(one.modalities[0].scores.emotions) == expected[1]
        assert len(told.closed.summary.emotions) == expected[1]


@rule("3.5")
async def scores_add_up_and_agree(peer: Peer) -> None:
    clip, media = builtin()
    told = await peer.session(clip.config, media)
    for one in (*told.results, told.closed.summary):
        if not one.HasField("sentiment"):
            continue
        assert -1 <= one.sentiment <= 1
        for probabilities in (one.polarities, one.emotions):
            assert abs(sum(score.probability for score in probabilities) - 1) < 1e-3
        assert abs(sum(part.contribution for part in one.modalities) - 1) < 1e-3
        top = max(one.polarities, key=lambda score: score.probability)
        sign = {result_pb2.POLARITY_NEGATIVE: -1, result_pb2.POLARITY_NEUTRAL: 0, result_pb2.POLARITY_POSITIVE: 1}
        assert one.sentiment * sign[top.polarity] >= 0
        assert abs(one.confidence - top.probability) < 1e-6


@rule("3.6")
async def every_result_speaks_of_every_modality(peer: Peer) -> None:
    config = session_pb2.SessionConfig(audio=PCM, text=TEXT)
    told = await peer.session(config, [span(0, 0.1, 0.6, "wonderful"), *silence(2)])
    assert told.utterances
    for one in (*told.results, told.closed.summary):
        assert [part.modality for part in one.modalities] == media_pb2.Modality.values()[1:]
        assert statuses(one)[1] == "MISSING"
        assert one.modalities[1].coverage == 0
    assert statuses(told.utterances[0])[2] == statuses(told.closed.summary)[2] == "USED"


@rule("3.8")
async def smoothing_holds_labels(peer: Peer) -> None:
    plain, smooth = await spoken(peer, final_only=True), await spoken(peer, smoothing=at(5), final_only=True)
    for name in ("polarities", "emotions"):
        assert _changes(smooth, name) <= _changes(plain, name)
    assert shape(smooth.windows) == shape(plain.windows)


def _changes(told: Told, name: str) -> int:
    """How often the most probable class changes from window to window."""
    labels = [
        max(range(len(getattr(one, name))), key=lambda number, one=one: getattr(one, name)[number].probability)  # type: ignore[misc]
        for one in told.windows
        if one.HasField("sentiment")
    ]
    return sum(one != other for one, other in itertools.pairwise(labels))
