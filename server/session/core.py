"""One session, without I/O: messages in, pieces to encode and results to fuse out.

A message takes two steps. `receive` puts it into sequence order and says which messages are in order now. The caller
decodes those, in that order, and reports each with `deliver_*`. Everything a result depends on is settled by the order
of arrival alone, never by how long decoding or a model took.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from contract.timing import HOP_NS, LATENESS_NS, NS_PER_S, samples_to_ns
from server.session.bounds import Bounds, seconds
from server.session.clock import Clock, StreamState
from server.session.messages import EndOfModality, EndOfUtterance, Item, Media, Modality, RejectedError
from server.session.pieces import AudioHop, Face, Output, Piece, Totals
from server.session.reasons import Reason
from server.session.reorder import ReorderBuffer
from server.session.store import Store
from server.session.transcript import LIVE_SPANS, RECORDED_SPANS, Transcript, span_of
from server.session.utterances import Utterances
from server.session.voice import Interval, loud_intervals
from server.session.windows import Windows

Samples = Sequence[tuple[int, NDArray[np.float32]]]
"""Absolute start sample at 16 kHz and float32 samples [n] of contiguous pieces."""
DEFAULT_MAX_GAP_NS = 60 * NS_PER_S
DEFAULT_MAX_DURATION_NS = 4 * 3600 * NS_PER_S


@dataclass(frozen=True)
class SessionSettings:
    """What the client configured, with defaults filled in."""

    modalities: frozenset[Modality]
    """Modalities that are open from the start."""
    lateness_ns: int = LATENESS_NS
    """How far the foremost stream may run ahead before a window is final without the others, and how long after an
    utterance's end became known its words may still come."""
    final_only: bool = False
    interval_ns: int = HOP_NS
    """From one window to the next: a multiple of `HOP_NS`."""
    endpointing_ns: int | None = None
    """Length of the pause that ends an utterance; None where only the client ends utterances."""
    is_recorded: bool = False
    """All media are there already, in whatever order they are sent: results follow when all has been taken in, and
    nothing is late. There are only final ones."""
    max_gap_ns: int = DEFAULT_MAX_GAP_NS
    """How far an offset may lie ahead of the media received so far."""
    max_duration_ns: int = DEFAULT_MAX_DURATION_NS
    """No offset may lie beyond it."""


class SessionCore:
    """State of one session. Every method is synchronous and short."""

    def __init__(self, settings: SessionSettings) -> None:
        self.totals = {modality: Totals() for modality in Modality}
        self._settings = settings
        self._reorder = {modality: ReorderBuffer(settings.lateness_ns) for modality in Modality}
        self._bounds = Bounds(settings.max_gap_ns, settings.max_duration_ns)
        self._accepting = set(settings.modalities)
        self._received_ns = dict.fromkeys(Modality, 0)
        """Begin of the newest message of each modality."""
        self._clock = Clock(settings.modalities, settings.lateness_ns, settings.is_recorded)
        kept_spans = RECORDED_SPANS if settings.is_recorded else LIVE_SPANS
        self._transcript = Transcript(self.totals[Modality.TEXT], kept_spans)
        self._store = Store(self._transcript, settings.endpointing_ns)
        final_only = settings.final_only or settings.is_recorded
        self._windows = Windows(self._clock, self._store, settings.interval_ns, final_only)
        self._utterances = Utterances(self._clock, self._store, final_only)
        self._taken: dict[Modality, int] = {}

    # First step: into sequence order.

    def receive(self, item: Item) -> list[Item]:
        """Take in a message and return what is in order now, for decoding in that order.

        Raises:
            RejectedError: the message can't be used; it has been counted, and nothing waits for its sequence.
        """
        if isinstance(item, Media):
            return self._receive_media(item if item.has_time else replace(item, start_ns=self._now_ns(item)))
        if isinstance(item, EndOfModality):
            if item.modality not in self._accepting:
                text = f"end_of_modality: the session has no open {item.modality} stream"
                raise RejectedError(text, Reason.MODALITY_ENDED, "end_of_modality.modality")
            self._accepting.discard(item.modality)
            return [*self._reorder[item.modality].flush(), item]
        if isinstance(item, EndOfUtterance):
            if item.offset_ns is None:
                return [replace(item, offset_ns=self._now_ns(item))]
            self._check_offset(item.offset_ns, "end_of_utterance.offset")
            return [item]
        ordered: list[Item] = []
        for modality in sorted(self._accepting):
            ordered += self._reorder[modality].flush()
        self._accepting.clear()
        return [*ordered, item]

    def _receive_media(self, message: Media) -> list[Item]:
        totals = self.totals[message.modality]
        reorder = self._reorder[message.modality]
        totals.received += 1
        try:
            self._check_media(message, reorder)
        except RejectedError:
            totals.rejected += 1
            reorder.pass_over(message.sequence)
            raise
        if reorder.is_late(message.sequence):
            reorder.mark_late(message.sequence)
            totals.late += 1
            return []
        if reorder.knows(message.sequence):
            totals.skipped += 1
            return []
        reorder.push(message)
        self._received_ns[message.modality] = max(self._received_ns[message.modality], message.start_ns)
        ordered: list[Item] = []
        for modality in Modality:
            ordered += self._reorder[modality].release(self._frontier_ns(modality))
        return ordered

    def _frontier_ns(self, modality: Modality) -> int:
        """How far the session has got, for what may be missing of one modality: of a recording, that one alone has."""
        return self._received_ns[modality] if self._settings.is_recorded else max(self._received_ns.values())

    def _now_ns(self, item: Media | EndOfUtterance) -> int:
        """Return the session time of something that has none: where audio or video is, or else its arrival."""
        live_ns = max(self._received_ns[Modality.AUDIO], self._received_ns[Modality.VIDEO])
        return max(live_ns or item.arrived_ns, self._received_ns[Modality.TEXT])

    def reject(self, modality: Modality, sequence: int) -> None:
        """Count a message that was refused before it became one of ours (too large, or not decodable as a message)."""
        self.totals[modality].received += 1
        self.totals[modality].rejected += 1
        self._reorder[modality].pass_over(sequence)

    def _check_media(self, message: Media, reorder: ReorderBuffer) -> None:
        if message.modality not in self._settings.modalities:
            text = f"{message.modality} was not configured for this session"
            raise RejectedError(text, Reason.MODALITY_NOT_CONFIGURED, str(message.modality))
        if message.modality not in self._accepting:
            raise RejectedError(f"{message.modality} has ended", Reason.MODALITY_ENDED, str(message.modality))
        self._check_offset(message.start_ns, f"{message.modality}.start_offset")
        if message.modality == Modality.TEXT:
            self._bounds.check_text(message)
        reorder.check(message.sequence)

    def _check_offset(self, offset_ns: int, name: str) -> None:
        self._bounds.check_offset(offset_ns, max(self._received_ns.values()), name)

    # Second step: decoded, in order.

    def deliver_audio(
        self,
        message: Media,
        pieces: Samples,
        reached_ns: int,
        voice: Sequence[Interval] | None = None,
    ) -> list[Output]:
        """Take in decoded audio.

        Args:
            message: the message that the samples came from.
            pieces: its audio.
            reached_ns: session time up to which the stream has been received.
            voice: where a voice-activity detector found a voice, in order; None where none runs.
        """
        stream = self._take(message)
        self._store.audio.note_message()
        hops = self._write(pieces, voice)
        self._count_used(Modality.AUDIO, message.start_ns, reached_ns)
        stream.frontier_ns = max(stream.frontier_ns, message.start_ns)
        stream.reached_ns = max(stream.reached_ns, reached_ns)
        return [*hops, *self._advance()]

    def deliver_faces(self, message: Media, faces: Sequence[Face]) -> list[Output]:
        """Take in a frame that was looked at: its faces if it is the first one of its slot with any, else none."""
        stream = self._take(message)
        if faces:
            self._store.faces.add(faces)
            self._count_used(Modality.VIDEO, message.start_ns, message.start_ns)
        else:
            self.totals[Modality.VIDEO].skipped += 1
        stream.frontier_ns = max(stream.frontier_ns, message.start_ns)
        stream.watermark_ns = max(stream.watermark_ns, message.start_ns)
        # A frame lies in the window that ends after it, so that a frame at 4.0 s needs the window that ends at 4.5 s.
        stream.reached_ns = max(stream.reached_ns, message.start_ns + 1)
        return [*faces, *self._advance()]

    def deliver_text(self, message: Media) -> list[Output]:
        """Take in words, in the place of their hypothesis if they have one.

        Raises:
            RejectedError: the words begin before the words that came before them, or there are none.
        """
        stream = self._take(message)
        replaces = message.hypothesis is not None and self._transcript.knows(message.hypothesis)
        start_ns = message.start_ns if message.has_time else max(message.start_ns, self._transcript.final_start_ns)
        runs_back = start_ns < self._transcript.final_start_ns
        is_empty = not message.data.strip() and not message.words
        if (runs_back or is_empty) and not replaces:
            self.totals[Modality.TEXT].rejected += 1
            if is_empty:
                text = f"text.text is empty, and hypothesis {message.hypothesis} is not there to take back"
                raise RejectedError(text, Reason.TEXT_EMPTY, "text.text")
            raise RejectedError(
                f"text.start_offset {seconds(start_ns)} runs back: the words before began at "
                f"{seconds(self._transcript.final_start_ns)}",
                Reason.OFFSET_RUNS_BACK,
                "text.start_offset",
            )
        span = span_of(message, start_ns)
        self._transcript.add(span)
        stream.frontier_ns = max(stream.frontier_ns, start_ns)
        stream.watermark_ns = max(stream.watermark_ns, span.end_ns)
        stream.reached_ns = max(stream.reached_ns, span.end_ns)
        return self._advance(words_changed=True)

    def deliver_rejected(self, message: Media) -> list[Output]:
        """Note that a message in order could not be decoded. Its place is a gap."""
        self._take(message)
        self.totals[message.modality].rejected += 1
        return self._advance()

    def deliver_end_of_modality(
        self, end: EndOfModality, tail: Samples = (), voice: Sequence[Interval] | None = None
    ) -> list[Output]:
        """Close one modality; of audio, `tail` is what its resampler still held."""
        outputs: list[Output] = []
        if end.modality == Modality.AUDIO:
            outputs += self._finish_audio(tail, voice)
        if end.modality == Modality.TEXT:
            self._transcript.finish()
        self._clock.streams[end.modality].is_open = False
        return [*outputs, *self._advance(words_changed=end.modality == Modality.TEXT)]

    def deliver_end_of_utterance(self, end: EndOfUtterance) -> list[Output]:
        """Note an utterance's end."""
        assert end.offset_ns is not None, "receive fills it in"
        offset_ns = end.offset_ns
        self._end_utterance(offset_ns)
        self._clock.declared_ns = max(self._clock.declared_ns, offset_ns)
        return self._advance(words_changed=True)

    def deliver_close(self, tail: Samples = (), voice: Sequence[Interval] | None = None) -> Iterator[Output]:
        """End the session: every window up to the last media becomes final, and the last utterance ends.

        A recording has all its results now: they are laid out as they are asked for.
        """
        if self._clock.streams[Modality.AUDIO].is_open:
            yield from self._finish_audio(tail, voice)
        self._transcript.finish()
        self._clock.close()
        while windows := self._windows.advance(dict(self._taken), words_changed=False, at_most=1):
            yield from windows
        self._utterances.close()
        yield from self._utterances.advance()
        self._transcript.close()

    def drop(self, piece: Piece) -> None:
        """Count the messages of a piece that no model could encode."""
        if isinstance(piece, AudioHop):
            self._drop(self.totals[Modality.AUDIO], piece.messages)
        elif isinstance(piece, Face):
            # A frame may show several faces, and counts by its speaker's.
            self._drop(self.totals[Modality.VIDEO], int(piece.is_speaker))
        else:
            self._transcript.drop(piece)

    def _drop(self, totals: Totals, count: int) -> None:
        count = min(totals.used, count)
        totals.used -= count
        totals.dropped += count

    def _write(self, pieces: Samples, voice: Sequence[Interval] | None) -> list[AudioHop]:
        hops = [hop for start_sample, samples in pieces for hop in self._store.audio.write(start_sample, samples)]
        self._hear(hops, voice)
        return hops

    def _finish_audio(self, tail: Samples, voice: Sequence[Interval] | None) -> list[AudioHop]:
        stream = self._clock.streams[Modality.AUDIO]
        hops = self._write(tail, voice)
        stream.reached_ns = max(stream.reached_ns, samples_to_ns(self._store.audio.position))
        last = list(self._store.audio.finish())
        self._hear(last, voice and ())
        return [*hops, *last]

    def _hear(self, hops: Sequence[AudioHop], voice: Sequence[Interval] | None) -> None:
        """Note the voice in the audio up to the present position, and end the utterances that its pauses end."""
        position_ns = samples_to_ns(self._store.audio.position)
        self._clock.streams[Modality.AUDIO].watermark_ns = position_ns
        self._store.voice.is_detected = voice is not None
        if voice is None:
            # Loudness is known of whole hops.
            voice = [interval for hop in hops for interval in loud_intervals(hop)]
            position_ns -= position_ns % HOP_NS
        for end_ns in self._store.voice.take(voice, position_ns):
            self._end_utterance(end_ns)

    def _end_utterance(self, offset_ns: int) -> None:
        self._transcript.end_utterance(offset_ns)
        self._utterances.end(offset_ns)

    def _take(self, message: Media) -> StreamState:
        taken = self._taken.get(message.modality, -1)
        self._taken[message.modality] = max(taken, message.sequence)
        return self._clock.streams[message.modality]

    def _count_used(self, modality: Modality, start_ns: int, end_ns: int) -> None:
        """A message counts as late when all of it lies in windows that are final; open results use it all the same."""
        totals = self.totals[modality]
        if end_ns <= self._windows.final_ns and start_ns < self._windows.final_ns:
            totals.late += 1
        else:
            totals.used += 1

    def _advance(self, words_changed: bool = False) -> list[Output]:
        outputs: list[Output] = [
            *self._windows.advance(dict(self._taken), words_changed),
            *self._utterances.advance(),
        ]
        if outputs:
            self._store.forget(self._utterances.needed_ns(), self._windows.horizon_ns)
        return outputs
