"""Collects 16 kHz samples at absolute positions and cuts them into hops with their left context."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from contract.timing import (
    AUDIO_SLOT_SAMPLES,
    AUDIO_SLOTS_PER_HOP,
    CHUNK_SAMPLES,
    CONTEXT_SAMPLES,
    HOP_SAMPLES,
)
from server.session.pieces import AudioHop
from server.session.retention import stride_of

_KEPT_HOPS = 64
"""Of an utterance, beside those that windows need: half a minute; of a longer one every second hop stays, and so on."""


class AudioBuffer:
    """The audio of one session from one second before the open hop on. What was not received is zero and masked."""

    def __init__(self) -> None:
        self.position = 0
        """Absolute index of the next sample: all before it is known or a gap."""
        self._hop = 0
        self._pcm = np.zeros(CHUNK_SAMPLES, dtype=np.float32)
        self._mask = np.zeros(AUDIO_SLOTS_PER_HOP, dtype=np.float32)
        self._messages = 0
        self._hops: dict[int, AudioHop] = {}

    def write(self, start_sample: int, samples: NDArray[np.float32]) -> Iterator[AudioHop]:
        """Put samples at their place and yield the hops that they complete; hops without any sample are left out.

        Samples before `position` are known already (resampling rounds a piece's start) and are passed over.
        """
        overlap = max(0, self.position - start_sample)
        samples = samples[overlap:]
        if not len(samples):
            return
        yield from self._advance(start_sample + overlap, None)
        yield from self._advance(self.position + len(samples), samples)

    def note_message(self) -> None:
        """Count one message into the open hop."""
        self._messages += 1

    def finish(self) -> Iterator[AudioHop]:
        """Pad the open hop with zeros and yield it, if it has any sample."""
        if self._mask.any():
            hop = self._cut()
            if hop is not None:
                yield hop

    def hops(self, first: int, last: int) -> tuple[AudioHop | None, ...]:
        """Return the hops `first` to `last`, both included."""
        return tuple(self._hops.get(index) for index in range(first, last + 1))

    def forget(self, utterance_hop: int, window_hop: int) -> None:
        """Forget what lies before both, and thin out what only a long utterance needs."""
        stride = stride_of(window_hop - utterance_hop, _KEPT_HOPS)
        for index in list(self._hops):
            if index < window_hop and (index < utterance_hop or index % stride):
                del self._hops[index]

    def _advance(self, end: int, samples: NDArray[np.float32] | None) -> Iterator[AudioHop]:
        """Move to the absolute sample `end`, over `samples` or over a gap."""
        done = 0
        while self.position < end:
            begin = self.position - self._hop * HOP_SAMPLES
            count = min(end - self.position, HOP_SAMPLES - begin)
            if samples is not None:
                self._pcm[CONTEXT_SAMPLES + begin : CONTEXT_SAMPLES + begin + count] = samples[done : done + count]
                self._mask[begin // AUDIO_SLOT_SAMPLES : (begin + count - 1) // AUDIO_SLOT_SAMPLES + 1] = 1.0
            done += count
            self.position += count
            if self.position == (self._hop + 1) * HOP_SAMPLES:
                hop = self._cut()
                if hop is not None:
                    yield hop

    def _cut(self) -> AudioHop | None:
        hop = None
        if self._mask.any():
            hop = AudioHop(self._hop, self._pcm, self._mask, self._messages)
            self._hops[self._hop] = hop
            self._messages = 0
        following = np.zeros(CHUNK_SAMPLES, dtype=np.float32)
        following[:CONTEXT_SAMPLES] = self._pcm[HOP_SAMPLES:]
        self._pcm = following
        self._mask = np.zeros(AUDIO_SLOTS_PER_HOP, dtype=np.float32)
        self._hop += 1
        self.position = max(self.position, self._hop * HOP_SAMPLES)
        return hop
