"""Decodes the messages of one session, in their order. It knows nothing of windows and models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.media.audio import AudioPiece, AudioSettings, AudioTrack
from server.media.faces import FaceDetector
from server.media.images import is_heavy
from server.media.video import FacePiece, FaceTrack, VideoSettings
from server.media.voice import VoiceDetector, VoiceTrack
from server.session.messages import Close, EndOfModality, Item, Media, Modality
from server.session.pieces import Face, FaceBox

Samples = Sequence[tuple[int, NDArray[np.float32]]]


@dataclass(frozen=True)
class MediaSettings:
    """How the client encodes its media; None where a modality is not configured."""

    audio: AudioSettings | None = None
    video: VideoSettings | None = None


@dataclass(frozen=True)
class Decoded:
    """What came out of one message."""

    item: Item
    samples: Samples = ()
    reached_ns: int = 0
    """Of audio: session time up to which the stream has been received."""
    voice: Sequence[tuple[int, int]] | None = None
    """Of audio: where there is a voice, in nanoseconds; None where no detector listens."""
    faces: Sequence[Face] = ()
    """Of video: the faces of the slot, the speaker's among them."""


class SessionMedia:
    """The decoders of one session. `decode` is called by one thread at a time, in the order of the session."""

    def __init__(
        self,
        settings: MediaSettings,
        detector: FaceDetector,
        max_chunk_ns: int,
        max_gap_ns: int,
        voice: VoiceDetector | None = None,
    ) -> None:
        self._audio = None if settings.audio is None else AudioTrack(settings.audio, max_chunk_ns, max_gap_ns)
        self._video = None if settings.video is None else FaceTrack(settings.video, detector, max_gap_ns)
        self._images = settings.video
        self._voice = None if voice is None else VoiceTrack(voice)

    def is_heavy(self, item: Item) -> bool:
        """Tell whether decoding the message takes so long that other sessions should not wait for it."""
        if self._images is None or not isinstance(item, Media) or item.modality != Modality.VIDEO:
            return False
        return is_heavy(self._images, item.data)

    def decode(self, item: Item) -> Decoded:
        """Decode one message; ends of streams give what their decoders still held.

        Raises:
            MediaError: the media can't be used. The decoders are as they were before.
        """
        if isinstance(item, Media) and item.modality == Modality.AUDIO and self._audio is not None:
            return self._heard(item, self._audio.push(item.start_ns, item.data), self._audio.end_ns)
        if isinstance(item, Media) and item.modality == Modality.VIDEO and self._video is not None:
            _, pieces = self._video.push(item.start_ns, item.data)
            return Decoded(item, faces=[_face(piece) for piece in pieces])
        ends_audio = isinstance(item, Close) or (isinstance(item, EndOfModality) and item.modality == Modality.AUDIO)
        if ends_audio and self._audio is not None:
            return self._heard(item, self._audio.flush(), self._audio.end_ns)
        return Decoded(item)

    def _heard(self, item: Item, pieces: Sequence[AudioPiece], reached_ns: int) -> Decoded:
        samples = [(piece.start_sample, piece.samples) for piece in pieces]
        voice = None if self._voice is None else [one for piece in pieces for one in self._voice.push(piece)]
        return Decoded(item, samples, reached_ns, voice)


def _face(piece: FacePiece) -> Face:
    box = None if piece.box is None else FaceBox(*piece.box)
    return Face(piece.slot, piece.time_ns, piece.crop, piece.face_id, piece.is_speaker, box)
