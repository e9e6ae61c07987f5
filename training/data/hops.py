"""Cuts recordings into what the audio encoder sees: one second of context and a new half second."""

import numpy as np
from numpy.typing import NDArray

from contract.timing import CHUNK_SAMPLES, CONTEXT_SAMPLES, HOP_SAMPLES


def chunks_of(pcm: NDArray[np.float32], offset: int = 0) -> NDArray[np.float32]:
    """Return the chunks [hops, 24000] of a recording [N], the hops lying on a grid that starts at `offset` samples.

    As in a session: zeros before the start, the last hop padded with zeros.
    """
    hops = max(1, -(-(len(pcm) + offset) // HOP_SAMPLES))
    padded = np.zeros(CONTEXT_SAMPLES + hops * HOP_SAMPLES, dtype=np.float32)
    start = CONTEXT_SAMPLES + offset
    padded[start : start + len(pcm)] = pcm
    return np.stack([padded[i * HOP_SAMPLES : i * HOP_SAMPLES + CHUNK_SAMPLES] for i in range(hops)])
