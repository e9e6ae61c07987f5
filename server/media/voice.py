"""Finds the voice in a session's audio with akiki's voice-activity detector, an optional package that brings its ONNX.

16 ms a frame, 320 samples of context, a recurrent state of 128. It knows no utterances: what a pause means is the
session's business.
"""

import hashlib
import importlib.util
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.timing import samples_to_ns
from server.media.audio import AudioPiece

_FRAME: Final = 256
_CONTEXT: Final = 320
_STATE: Final = (1, 1, 128)
_THRESHOLD: Final = 0.5
"""Fixed by the authors of the model."""
_SILENCE: Final = 1e-3
"""Root mean square (-60 dBFS) below which a frame is silence without asking the model, which costs .18 ms a frame."""
_ONSET: Final = 3
"""Frames in a row from which they are a voice: single ones (a click) would cut pauses short."""
_SHA256: Final = "0fab56bc4ea6725ec881c35973e04813a4963dc5bbf4bf5ccfe8fd7cf468c6f5"

Frame = NDArray[np.float32]
Interval = tuple[int, int]
"""Begin and end, in nanoseconds of the session."""


class VoiceDetectorMissingError(Exception):
    """The detector's package is not installed, or holds another model than the one that this server knows."""


class VoiceDetector:
    """The model, for all sessions and threads. Without state of its own."""

    def __init__(self) -> None:
        """Load the model; raises VoiceDetectorMissingError."""
        package = importlib.util.find_spec("akiki")
        if package is None or not package.submodule_search_locations:
            raise VoiceDetectorMissingError("no voice-activity detector is installed: install the extra [endpointing]")
        path = Path(package.submodule_search_locations[0], "models", "akiki-vad.onnx")
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != _SHA256:
            raise VoiceDetectorMissingError("the installed akiki is not version 0.0.6: install the extra [endpointing]")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, audio: Frame, state: Frame) -> tuple[float, Frame]:
        """Return the probability of a voice in a frame, given with its context [576], and the new state."""
        inputs = {"audio_with_context": audio[None], "h": state}
        probability, new_state = self._session.run(["probability", "h_out"], inputs)
        return float(probability.reshape(-1)[0]), new_state


class VoiceTrack:
    """Listens to one session's audio, in order."""

    def __init__(self, detector: VoiceDetector) -> None:
        self._detector = detector
        self._position = 0
        """First sample of the next frame."""
        self._onset: list[Interval] = []
        """The first frames with a voice, until there are enough of them."""
        self._speaks = False
        self._context = self._pending = np.zeros(0, np.float32)
        self._state = np.zeros(_STATE, np.float32)
        self._begin(0)

    def push(self, piece: AudioPiece) -> list[Interval]:
        """Take in 16 kHz audio and return the frames with a voice that have become known.

        After a gap the detector listens anew.
        """
        if piece.start_sample != self._position + len(self._pending):
            self._begin(piece.start_sample)
        audio = np.concatenate([self._context, self._pending, piece.samples])
        found = []
        while len(audio) >= _CONTEXT + _FRAME:
            found += self._note(self._hears(audio[: _CONTEXT + _FRAME]))
            self._position += _FRAME
            audio = audio[_FRAME:]
        self._context, self._pending = audio[:_CONTEXT], audio[_CONTEXT:]
        return found

    def _begin(self, position: int) -> None:
        self._position = position
        self._onset, self._speaks = [], False
        self._context = np.zeros(_CONTEXT, np.float32)
        self._pending = np.zeros(0, np.float32)
        self._state = np.zeros(_STATE, np.float32)

    def _note(self, is_voice: bool) -> list[Interval]:
        """Return the frames that are known to be a voice now that this one is heard."""
        if not is_voice:
            self._onset, self._speaks = [], False
            return []
        frame = samples_to_ns(self._position), samples_to_ns(self._position + _FRAME)
        if self._speaks:
            return [frame]
        self._onset.append(frame)
        if len(self._onset) < _ONSET:
            return []
        found, self._onset, self._speaks = self._onset, [], True
        return found

    def _hears(self, frame: Frame) -> bool:
        if np.sqrt(np.mean(np.square(frame[_CONTEXT:]))) < _SILENCE:
            return False
        probability, self._state = self._detector.run(frame, self._state)
        return probability >= _THRESHOLD
