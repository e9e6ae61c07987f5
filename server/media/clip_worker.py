"""The process in which media files of strangers are decoded: `python -m server.media.clip_worker`.

FFmpeg takes some hundred formats apart. Here its time and memory are bounded by the kernel, it can be killed at any
moment, and what breaks breaks alone. Files come on standard input one after the other, pieces go out on standard
output; `clip_decoders.py` is the other end. The process dies with its parent.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from dataclasses import asdict
from typing import Any, BinaryIO, Final

from server.media.clip import Clip, ClipAudio, read_clip
from server.media.errors import MediaError

REQUEST: Final = struct.Struct("<QQQdq")
"""Bytes of the file that follows, largest number of bytes, longest duration in ns, seconds of CPU time for it,
the channel that is listened to (-1: the mean of all)."""
PIECE: Final = struct.Struct("<cQI")
"""Kind, start offset in ns, bytes of content that follow."""
HEAD, AUDIO, FRAME, END, FAILURE = b"h", b"a", b"f", b"e", b"x"

_PR_SET_PDEATHSIG: Final = 1
_MEMORY_BYTES: Final = 3 << 30
"""Of address space, more than half of which is libraries: 4K video keeps up to 16 images of 12 MiB for reference."""
_NICE: Final = 10
"""Clips can wait, live sessions can't."""


def main(source: BinaryIO, out: BinaryIO) -> None:
    """Decode files until the other end closes `source`."""
    while len(request := source.read(REQUEST.size)) == REQUEST.size:
        size, max_bytes, max_ns, cpu_s, channel = REQUEST.unpack(request)
        _allow(cpu_s)
        data = source.read(size)
        try:
            _decode(data, max_bytes, max_ns, None if channel < 0 else channel, out)
        except MediaError as error:
            _send(out, FAILURE, 0, str(error).encode())
        out.flush()


def _decode(data: bytes, max_bytes: int, max_ns: int, channel: int | None, out: BinaryIO) -> None:
    with read_clip(data, max_ns, max_bytes, channel) as clip:
        _send(out, HEAD, 0, json.dumps(_described(clip)).encode())
        for piece in clip:
            kind = AUDIO if isinstance(piece, ClipAudio) else FRAME
            _send(out, kind, piece.start_offset_ns, piece.data)
    _send(out, END, 0, b"")


def _described(clip: Clip) -> dict[str, Any]:
    return {
        "audio": None if clip.audio is None else asdict(clip.audio),
        "video": None if clip.video is None else asdict(clip.video),
    }


def _send(out: BinaryIO, kind: bytes, start_ns: int, content: bytes) -> None:
    out.write(PIECE.pack(kind, start_ns, len(content)))
    out.write(content)


def _allow(cpu_s: float) -> None:
    """Let the kernel end this process (SIGXCPU) when the next file takes more CPU time."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = usage.ru_utime + usage.ru_stime + cpu_s
    resource.setrlimit(resource.RLIMIT_CPU, (int(soft) + 1, resource.RLIM_INFINITY))


def _bound_this_process() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICE)


if __name__ == "__main__":
    _bound_this_process()
    main(sys.stdin.buffer, sys.stdout.buffer)
