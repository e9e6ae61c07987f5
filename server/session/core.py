"""One session, without I/O: messages in, pieces to encode and windows to fuse out.

A message takes two steps. `receive` puts it into sequence order and says which messages are in order now. The caller
decodes those, in that order, and reports each with `deliver_*`. Everything a window depends on is settled by the order
of arrival alone, never by how long decoding or a model took.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.timing import HOP_NS, LATENESS_NS, NS_PER_S, samples_to_ns
from server.session.audio_buffer import AudioBuffer
from server.session.messages import EndOfModality, EndOfUtterance, Item, Media, Modality, RejectedError
from server.session.pieces import AudioHop, Face, Output, Totals
from server.session.reasons import Reason
from server.session.reorder import ReorderBuffer
from server.session.transcript import Transcript
from server.session.windows import StreamState, Windows

DEFAULT_MAX_GAP_NS = 60 * NS_PER_S
DEFAULT_MAX_DURATION_NS = 4 * 3600 * NS_PER_S


@dataclass(frozen=True)
class SessionSettings:
    """What the client configured, with defaults filled in."""

    modalities: frozenset[Modality]
    """Modalities that are open from the start."""
    lateness_ns: int = LATENESS_NS
    final_only: bool = False
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
        self._accepting = set(settings.modalities)
        self._streams = {modality: StreamState(modality in settings.modalities) for modality in Modality}
        self._received_ns = 0
        self._audio = AudioBuffer()
        self._faces: dict[int, Face] = {}
        self._transcript = Transcript()
        self._windows = Windows(self._streams, settings.lateness_ns, settings.final_only)
        self._taken: dict[Modality, int] = {}

    # First step: into sequence order.

    def receive(self, item: Item) -> list[Item]:
        """Take in a message and return what is in order now, for decoding in that order.

        Raises:
            RejectedError: the message can't be used; it has been counted, and nothing waits for its sequence.
        """
        if isinstance(item, Media):
            return self._receive_media(item)
        if isinstance(item, EndOfModality):
            if item.modality not in self._accepting:
                text = f"end_of_modality: the session has no open {item.modality} stream"
                raise RejectedError(text, Reason.MODALITY_ENDED, "end_of_modality.modality")
            self._accepting.discard(item.modality)
            return [*self._reorder[item.modality].flush(), item]
        if isinstance(item, EndOfUtterance):
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
        self._received_ns = max(self._received_ns, message.start_ns)
        ordered: list[Item] = []
        for modality in Modality:
            ordered += self._reorder[modality].release(self._received_ns)
        return ordered

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
            self._check_text(message)
        reorder.check(message.sequence)

    def _check_text(self, message: Media) -> None:
        if not message.data.strip():
            raise RejectedError("text.text is empty", Reason.TEXT_EMPTY, "text.text")
        limit_ns = self._settings.max_gap_ns
        if not 0 <= message.duration_ns <= limit_ns:
            text = f"text.duration is {_seconds(message.duration_ns)}: expected 0 to {_seconds(limit_ns)}"
            raise RejectedError(text, Reason.OFFSET_INVALID, "text.duration")

    def _check_offset(self, offset_ns: int, name: str) -> None:
        if offset_ns < 0:
            text = f"{name} is {_seconds(offset_ns)}: expected an offset from the start of the session"
            raise RejectedError(text, Reason.OFFSET_INVALID, name)
        if offset_ns > self._settings.max_duration_ns:
            raise RejectedError(
                f"{name} is {_seconds(offset_ns)}: a session lasts {_seconds(self._settings.max_duration_ns)} at most",
                Reason.OFFSET_INVALID,
                name,
            )
        limit_ns = self._received_ns + self._settings.max_gap_ns
        if offset_ns > limit_ns:
            raise RejectedError(
                f"{name} is {_seconds(offset_ns)}: at most {_seconds(self._settings.max_gap_ns)} ahead of the media "
                f"received so far ({_seconds(self._received_ns)}) is accepted",
                Reason.OFFSET_TOO_FAR,
                name,
            )

    # Second step: decoded, in order.

    def deliver_audio(
        self, message: Media, pieces: Sequence[tuple[int, NDArray[np.float32]]], reached_ns: int
    ) -> list[Output]:
        """Take in decoded audio.

        Args:
            message: the message that the samples came from.
            pieces: absolute start sample at 16 kHz and float32 samples [n] of each contiguous piece.
            reached_ns: session time up to which the stream has been received.
        """
        stream = self._take(message)
        hops: list[Output] = []
        self._audio.note_message()
        for start_sample, samples in pieces:
            hops += self._audio.write(start_sample, samples)
        self._count_used(message, reached_ns)
        stream.frontier_ns = max(stream.frontier_ns, message.start_ns)
        stream.reached_ns = max(stream.reached_ns, reached_ns)
        stream.watermark_ns = samples_to_ns(self._audio.position)
        return [*hops, *self._advance()]

    def deliver_face(self, message: Media, face: Face | None) -> list[Output]:
        """Take in a frame that was looked at: its face if it has the first one of its slot, else None (skipped)."""
        stream = self._take(message)
        pieces: list[Output] = []
        if face is None:
            self.totals[Modality.VIDEO].skipped += 1
        else:
            self._faces[face.slot] = face
            pieces.append(face)
            self._count_used(message, message.start_ns)
        stream.frontier_ns = max(stream.frontier_ns, message.start_ns)
        stream.watermark_ns = max(stream.watermark_ns, message.start_ns)
        # A frame lies in the window that ends after it, so that a frame at 4.0 s needs the window that ends at 4.5 s.
        stream.reached_ns = max(stream.reached_ns, message.start_ns + 1)
        return [*pieces, *self._advance()]

    def deliver_text(self, message: Media) -> list[Output]:
        """Take in words. Text never holds a window back, so words in order are never late.

        Raises:
            RejectedError: the words begin before the words that came before them.
        """
        stream = self._take(message)
        if message.start_ns < stream.frontier_ns:
            self.totals[Modality.TEXT].rejected += 1
            raise RejectedError(
                f"text.start_offset {_seconds(message.start_ns)} runs back: the words before began at "
                f"{_seconds(stream.frontier_ns)}",
                Reason.OFFSET_RUNS_BACK,
                "text.start_offset",
            )
        end_ns = message.start_ns + message.duration_ns
        self._transcript.add(message.start_ns, end_ns, message.data.decode())
        self.totals[Modality.TEXT].used += 1
        stream.frontier_ns = max(stream.frontier_ns, message.start_ns)
        stream.watermark_ns = max(stream.watermark_ns, end_ns)
        stream.reached_ns = max(stream.reached_ns, end_ns)
        return self._advance()

    def deliver_rejected(self, message: Media) -> list[Output]:
        """Note that a message in order could not be decoded. Its place is a gap."""
        self._take(message)
        self.totals[message.modality].rejected += 1
        return self._advance()

    def deliver_end_of_modality(
        self, end: EndOfModality, tail: Sequence[tuple[int, NDArray[np.float32]]] = ()
    ) -> list[Output]:
        """Close one modality; of audio, `tail` is what its resampler still held."""
        outputs: list[Output] = []
        if end.modality == Modality.AUDIO:
            outputs += self._finish_audio(tail)
        self._streams[end.modality].is_open = False
        return [*outputs, *self._advance()]

    def deliver_end_of_utterance(self, end: EndOfUtterance) -> list[Output]:
        """Note an utterance's end; its result follows when the windows that reach it are final."""
        self._transcript.end_utterance(end.offset_ns)
        self._windows.end_utterance(end.offset_ns)
        return self._advance()

    def deliver_close(self, tail: Sequence[tuple[int, NDArray[np.float32]]] = ()) -> list[Output]:
        """End the session: every window up to the last media becomes final."""
        outputs: list[Output] = []
        if self._streams[Modality.AUDIO].is_open:
            outputs += self._finish_audio(tail)
        for stream in self._streams.values():
            stream.is_open = False
        self._windows.close()
        return [*outputs, *self._advance()]

    def drop(self, piece: AudioHop | Face) -> None:
        """Count the messages of a piece that no model could encode."""
        totals = self.totals[Modality.AUDIO if isinstance(piece, AudioHop) else Modality.VIDEO]
        count = min(totals.used, piece.messages if isinstance(piece, AudioHop) else 1)
        totals.used -= count
        totals.dropped += count

    def _finish_audio(self, tail: Sequence[tuple[int, NDArray[np.float32]]]) -> list[Output]:
        hops: list[Output] = []
        for start_sample, samples in tail:
            hops += self._audio.write(start_sample, samples)
        stream = self._streams[Modality.AUDIO]
        stream.reached_ns = max(stream.reached_ns, samples_to_ns(self._audio.position))
        hops += self._audio.finish()
        stream.watermark_ns = samples_to_ns(self._audio.position)
        return hops

    def _take(self, message: Media) -> StreamState:
        taken = self._taken.get(message.modality, -1)
        self._taken[message.modality] = max(taken, message.sequence)
        return self._streams[message.modality]

    def _count_used(self, message: Media, end_ns: int) -> None:
        """A message counts as late when all of it lies in windows that are final; open windows use it all the same."""
        totals = self.totals[message.modality]
        if end_ns <= self._windows.final_ns and message.start_ns < self._windows.final_ns:
            totals.late += 1
        else:
            totals.used += 1

    def _advance(self) -> list[Output]:
        outputs = self._windows.advance(self._audio, self._faces, self._transcript, dict(self._taken))
        for slot in [slot for slot, face in self._faces.items() if face.time_ns < self._windows.horizon_ns]:
            del self._faces[slot]
        self._audio.forget_before(self._windows.horizon_ns // HOP_NS)
        return outputs


def _seconds(offset_ns: int) -> str:
    return f"{offset_ns / NS_PER_S:.3f} s"
