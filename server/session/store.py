"""What a session has taken in and its results may still need, and how a stretch of it becomes a plan's pieces."""

from collections.abc import Callable, Sequence

from contract.timing import HOP_NS, VIDEO_SLOT_NS
from server.session.audio_buffer import AudioBuffer
from server.session.clock import Clock, hop_end_ns
from server.session.face_buffer import FaceBuffer, by_slot
from server.session.messages import Modality
from server.session.pieces import AudioHop, Face, Status
from server.session.transcript import Transcript
from server.session.voice import Voice


class Store:
    """Buffers of one session."""

    def __init__(self, transcript: Transcript, pause_ns: int | None) -> None:
        self.audio = AudioBuffer()
        self.faces = FaceBuffer()
        self.transcript = transcript
        self.voice = Voice(pause_ns)

    def hops_of(self, start_ns: int, end_ns: int) -> tuple[AudioHop | None, ...]:
        """Return the hops of a stretch, as in `Plan`."""
        return self.audio.hops(start_ns // HOP_NS, hop_end_ns(end_ns) // HOP_NS - 1)

    def faces_of(
        self, start_ns: int, end_ns: int, speaker_of: Callable[[Sequence[Face]], int | None]
    ) -> tuple[tuple[Face | None, ...], tuple[Face, ...]]:
        """Return the speaker's face in each slot of a stretch, and all other faces; `speaker_of` names the speaker."""
        faces = self.faces.within(start_ns, end_ns)
        speaker = speaker_of(faces)
        slots = range(start_ns // VIDEO_SLOT_NS, -(-end_ns // VIDEO_SLOT_NS))
        return by_slot(faces, slots, speaker), tuple(face for face in faces if face.face_id != speaker)

    def forget(self, utterance_ns: int, window_ns: int) -> None:
        """Forget what lies before both, and thin out what only a long utterance needs."""
        begin_ns = min(utterance_ns, window_ns)
        self.audio.forget(begin_ns // HOP_NS, window_ns // HOP_NS)
        self.faces.forget(begin_ns // VIDEO_SLOT_NS, window_ns // VIDEO_SLOT_NS)
        self.voice.forget_before(begin_ns)


def status_of(clock: Clock, modality: Modality, has_data: bool, end_ns: int) -> Status:
    """Return what a result that ends at `end_ns` says of a modality."""
    if has_data:
        return Status.USED
    stream = clock.streams[modality]
    is_late = stream.is_open and stream.watermark_ns < end_ns and modality != Modality.TEXT
    return Status.LATE if is_late else Status.MISSING
