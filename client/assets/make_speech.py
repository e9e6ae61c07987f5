"""Makes the speech of the built-in clip: `speech.flac` (16 kHz mono) and `speech.jsonl`, the times of its words.

    sudo apt-get install espeak-ng
    python client/assets/make_speech.py

It drives libespeak-ng directly, because only the library tells when each word begins (word events) and when the voice
falls silent (phoneme events). Runs once, by hand; nothing imports it.
"""

import ctypes
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

ASSETS = Path(__file__).resolve().parent
RATE = 16_000
PAUSE_S = 0.5
HOP_SAMPLES = RATE // 2
"""The clip ends with a window: a multiple of half a second."""
VOICE = b"en-us+f3"


@dataclass(frozen=True)
class Sentence:
    """A sentence and how it is spoken: words per minute, and pitch and its range in 0..100."""

    text: str
    words_per_minute: int
    pitch: int
    pitch_range: int


SENTENCES = (
    Sentence("I ordered a telescope for my daughter.", 160, 50, 45),
    Sentence("She loves it, what a wonderful gift!", 165, 62, 80),
    Sentence("But then it broke, and the service was terrible.", 150, 42, 30),
)

_SYNCHRONOUS = 2
_PHONEME_EVENTS = 1
_POS_CHARACTER = 1
_CHARS_UTF8 = 1
_PARAM_RATE, _PARAM_PITCH, _PARAM_RANGE = 1, 3, 4
_EVENT_END_OF_LIST, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
_SILENCE = b"_"


class _Event(ctypes.Structure):
    """`espeak_EVENT` of speak_lib.h, revision 11; `id` is a union, of which the phoneme's name is read."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Synthesiser:
    """libespeak-ng in synchronous mode."""

    def __init__(self, voice: bytes) -> None:
        self._lib: Any = ctypes.CDLL("libespeak-ng.so.1")
        self.rate = int(self._lib.espeak_Initialize(_SYNCHRONOUS, 0, None, _PHONEME_EVENTS))
        if self.rate <= 0 or self._lib.espeak_SetVoiceByName(voice) != 0:
            raise RuntimeError(f"espeak-ng could not be started with voice {voice.decode()}")
        self._blocks: list[NDArray[np.int16]] = []
        self._events: list[tuple[int, int, int, bytes]] = []
        self._callback = _Callback(self._take)
        self._lib.espeak_SetSynthCallback(self._callback)

    def _take(self, wave: Any, samples: int, events: Any) -> int:
        if wave and samples:
            self._blocks.append(np.ctypeslib.as_array(wave, (samples,)).copy())
        position = 0
        while (event := events[position]).type != _EVENT_END_OF_LIST:
            self._events.append((event.type, event.text_position, event.audio_position_ms, event.id))
            position += 1
        return 0

    def speak(self, sentence: Sentence) -> tuple[NDArray[np.float32], list[tuple[float, float, str]]]:
        """Return the samples at `self.rate`, and start, end (seconds) and text of every word."""
        self._blocks, self._events = [], []
        parameters = (
            (_PARAM_RATE, sentence.words_per_minute),
            (_PARAM_PITCH, sentence.pitch),
            (_PARAM_RANGE, sentence.pitch_range),
        )
        for parameter, value in parameters:
            self._lib.espeak_SetParameter(parameter, value, 0)
        data = sentence.text.encode()
        self._lib.espeak_Synth(data, len(data) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        pcm = np.concatenate(self._blocks).astype(np.float32) / 32768
        return pcm, self._words(sentence.text, len(pcm) / self.rate)

    def _words(self, text: str, length_s: float) -> list[tuple[float, float, str]]:
        """A word ends where the next one begins or where the voice pauses, whichever comes first."""
        starts = [(position - 1, ms / 1000) for kind, position, ms, _ in self._events if kind == _EVENT_WORD]
        pauses = [ms / 1000 for kind, _, ms, name in self._events if kind == _EVENT_PHONEME and name[:1] == _SILENCE]
        words = []
        for index, (position, start) in enumerate(starts):
            following = starts[index + 1][1] if index + 1 < len(starts) else length_s
            end = min([following, *(pause for pause in pauses if start < pause)])
            words.append((start, end, text[position:].split()[0]))
        assert [word for _, _, word in words] == text.split(), "one event per written word"
        return words


def main() -> None:
    """Write the two files."""
    synthesiser = Synthesiser(VOICE)
    pieces = [np.zeros(RATE // 4, dtype=np.float32)]
    words = []
    for sentence in SENTENCES:
        pcm, timed = synthesiser.speak(sentence)
        offset_s = sum(map(len, pieces)) / RATE
        words += [
            {"start": round(offset_s + a, 3), "end": round(offset_s + b, 3), "text": word} for a, b, word in timed
        ]
        pieces += [soxr.resample(pcm, synthesiser.rate, RATE), np.zeros(round(PAUSE_S * RATE), dtype=np.float32)]
    speech = np.concatenate(pieces)
    speech = np.pad(speech, (0, -len(speech) % HOP_SAMPLES))
    sf.write(ASSETS / "speech.flac", 0.7 * speech / np.abs(speech).max(), RATE, subtype="PCM_16")
    (ASSETS / "speech.jsonl").write_text("".join(json.dumps(word) + "\n" for word in words))
    print(f"{len(speech) / RATE:.2f} s, {len(words)} words, {(ASSETS / 'speech.flac').stat().st_size} bytes")


if __name__ == "__main__":
    main()
