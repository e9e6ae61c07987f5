from pathlib import Path

import numpy as np
import pytest
import soundfile

import client
from contract.timing import NS_PER_S, SAMPLE_RATE
from server.media.audio import AudioPiece
from server.media.voice import VoiceDetector, VoiceTrack


@pytest.fixture(scope="module")
def detector() -> VoiceDetector:
    return VoiceDetector()


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    samples, rate = soundfile.read(Path(client.__file__).parent / "assets" / "speech.flac", dtype="float32")
    assert rate == SAMPLE_RATE
    return samples


def heard(detector: VoiceDetector, samples: np.ndarray, chunk: int, start: int = 0) -> list[tuple[int, int]]:
    track = VoiceTrack(detector)
    pieces = [AudioPiece(start + at, samples[at : at + chunk]) for at in range(0, len(samples), chunk)]
    return [interval for piece in pieces for interval in track.push(piece)]


def seconds(intervals: list[tuple[int, int]]) -> float:
    return sum(end - start for start, end in intervals) / NS_PER_S


def test_a_voice_is_found_and_noise_and_silence_are_none(detector, speech):
    assert seconds(heard(detector, speech, 1600)) > 0.5 * len(speech) / SAMPLE_RATE
    noise = 0.05 * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE).astype(np.float32)
    assert seconds(heard(detector, noise, 1600)) < 0.1
    assert heard(detector, np.zeros(SAMPLE_RATE, np.float32), 1600) == []


def test_chunks_change_nothing(detector, speech):
    part = speech[: 2 * SAMPLE_RATE]
    assert heard(detector, part, 333) == heard(detector, part, 4000)


def test_after_a_gap_the_frames_lie_behind_it(detector, speech):
    track = VoiceTrack(detector)
    track.push(AudioPiece(0, np.zeros(1000, np.float32)))
    found = track.push(AudioPiece(5 * SAMPLE_RATE, speech[: 2 * SAMPLE_RATE]))
    assert found == heard(detector, speech[: 2 * SAMPLE_RATE], 1600, start=5 * SAMPLE_RATE)


class Scripted(VoiceDetector):
    """Hears a voice in the frames that a test names."""

    def __init__(self, voiced: set[int]) -> None:
        self._voiced = voiced
        self._frame = -1

    def run(self, audio: np.ndarray, state: np.ndarray) -> tuple[float, np.ndarray]:
        self._frame += 1
        return float(self._frame in self._voiced), state


def test_single_frames_are_no_voice():
    noise = np.full(20 * 256, 0.1, np.float32)
    frames = [
        start * SAMPLE_RATE // (256 * NS_PER_S) for start, _ in heard(Scripted({2, 5, 6, 9, 10, 11, 12}), noise, 100)
    ]
    assert frames == [9, 10, 11, 12]
