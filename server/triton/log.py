"""Turns Triton's output into log records and keeps its last lines for error messages."""

import logging
import re
from collections import deque
from collections.abc import Iterable
from typing import Final

logger = logging.getLogger("moodstream.triton")

_KEPT_LINES: Final = 200
_LINE: Final = re.compile(r"^([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ \d+ ([\w.]+:\d+)\] (.*)$")
# Triton tells at length what is routine here, so its information is our debugging aid.
_LEVELS: Final = {"I": logging.DEBUG, "W": logging.WARNING, "E": logging.ERROR, "F": logging.CRITICAL}
_HARMLESS: Final = (
    "CudaDriverHelper has not been initialized",
    "Unable to allocate pinned system memory",
    "failed to allocate pinned system memory",
    "unable to create stream for",
    "Exit timeout expired",
)
"""Warnings and errors that mean nothing here: no GPU, and a model that can't be unloaded as its stub died earlier."""


class TritonLog:
    """Takes Triton's lines one by one."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)

    def take(self, line: str) -> None:
        """Log one line at the level that Triton gave it; continuation lines (tables) count as information."""
        line = line.rstrip()
        if not line:
            return
        self._lines.append(line)
        level, source, text = _parse(line)
        logger.log(level, "%s %s", source, text)

    def tail(self, count: int) -> list[str]:
        """Return the last lines."""
        return list(self._lines)[-count:]

    def reason(self) -> str:
        """Return in one line what went wrong last, as far as the log tells."""
        errors = [text for level, _, text in map(_parse, self._lines) if level >= logging.ERROR]
        return _first_sentence(errors) or _first_sentence(reversed(self._lines)) or "its log is empty"


def _parse(line: str) -> tuple[int, str, str]:
    match = _LINE.match(line)
    if match is None:
        return logging.DEBUG, "-", line
    letter, source, text = match.groups()
    level = logging.DEBUG if any(known in text for known in _HARMLESS) else _LEVELS[letter]
    return level, source, text.strip('"')


def _first_sentence(lines: Iterable[str]) -> str:
    return next((line.replace("\\n", " ")[:400] for line in lines if line.strip("+-| ")), "")
