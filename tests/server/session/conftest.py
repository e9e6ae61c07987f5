"""Drives a session core as the server does, with raw samples and ready faces in the place of encoded media."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from contract.faces import FACE_SIZE
from contract.timing import NS_PER_S, SAMPLE_RATE, VIDEO_SLOT_NS, ns_to_samples
from server.session.core import SessionCore, SessionSettings
from server.session.messages import Close, EndOfModality, EndOfUtterance, Item, Media, Modality, RejectedError
from server.session.pieces import AudioHop, Face, Output, UtterancePlan, WindowPlan

MS = 1_000_000


@dataclass
class Driver:
    """Feeds messages; `audio` data is float32 at 16 kHz, a `video` datum is one byte that fills the crop."""

    settings: SessionSettings
    outputs: list[Output] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.core = SessionCore(self.settings)
        self._slots: set[int] = set()

    def send(self, *items: Item) -> "Driver":
        for item in items:
            try:
                ready = self.core.receive(item)
            except RejectedError as error:
                self.rejected.append((getattr(item, "modality", ""), str(error)))
                continue
            for one in ready:
                self.outputs += self._deliver(one)
        return self

    def _deliver(self, item: Item) -> list[Output]:
        if isinstance(item, Close):
            return self.core.deliver_close()
        if isinstance(item, EndOfModality):
            return self.core.deliver_end_of_modality(item)
        if isinstance(item, EndOfUtterance):
            return self.core.deliver_end_of_utterance(item)
        if item.modality == Modality.AUDIO:
            samples = np.frombuffer(item.data, dtype=np.float32)
            reached_ns = item.start_ns + len(samples) * NS_PER_S // SAMPLE_RATE
            return self.core.deliver_audio(item, [(ns_to_samples(item.start_ns), samples)], reached_ns)
        if item.modality == Modality.VIDEO:
            slot = item.start_ns // VIDEO_SLOT_NS
            if slot in self._slots:
                return self.core.deliver_faces(item, ())
            self._slots.add(slot)
            crop = np.full((FACE_SIZE, FACE_SIZE, 3), item.data[0], dtype=np.uint8)
            return self.core.deliver_faces(item, [Face(slot, item.start_ns, crop)])
        try:
            return self.core.deliver_text(item)
        except RejectedError as error:
            self.rejected.append((item.modality, str(error)))
            return []

    @property
    def plans(self) -> list[WindowPlan]:
        return [output for output in self.outputs if isinstance(output, WindowPlan)]

    @property
    def finals(self) -> list[WindowPlan]:
        return [plan for plan in self.plans if plan.is_final]

    @property
    def hops(self) -> list[AudioHop]:
        return [output for output in self.outputs if isinstance(output, AudioHop)]

    @property
    def utterances(self) -> list[UtterancePlan]:
        return [output for output in self.outputs if isinstance(output, UtterancePlan)]


@pytest.fixture(scope="session")
def session() -> Callable[..., Driver]:
    def make(*modalities: Modality, **settings: object) -> Driver:
        return Driver(SessionSettings(frozenset(modalities), **settings))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def audio() -> Callable[..., list[Media]]:
    def cut(samples: np.ndarray, chunks_ms: Sequence[int], start_ms: int = 0, first_sequence: int = 0) -> list[Media]:
        """Cut samples into chunks of the given lengths, taken in turn."""
        messages, at = [], 0
        while at < len(samples):
            count = chunks_ms[len(messages) % len(chunks_ms)] * SAMPLE_RATE // 1000
            start_ns = start_ms * MS + at * NS_PER_S // SAMPLE_RATE
            data = samples[at : at + count].astype(np.float32).tobytes()
            messages.append(Media(Modality.AUDIO, first_sequence + len(messages), start_ns, data))
            at += count
        return messages

    return cut


@pytest.fixture(scope="session")
def video() -> Callable[..., list[Media]]:
    def frames(seconds: float, fps: int, start_ms: int = 0, first_sequence: int = 0) -> list[Media]:
        count = round(seconds * fps)
        return [
            Media(
                Modality.VIDEO, first_sequence + number, start_ms * MS + number * NS_PER_S // fps, bytes([number % 256])
            )
            for number in range(count)
        ]

    return frames
