"""Log lines that strangers can cause: written at a bounded rate, and what was left out is counted."""

import logging
import time
from typing import Final

_PERIOD_S: Final = 1.0


class RateLimit(logging.Filter):
    """Lets one record a second through for each line of code that logs, and says how many it held back.

    Add it to a logger whose records clients can cause.
    """

    def __init__(self, period_s: float = _PERIOD_S) -> None:
        super().__init__()
        self._period_s = period_s
        self._lines: dict[tuple[str, int], tuple[float, int]] = {}
        """By line of code: when it was last let through, and how many were held back since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide about one record."""
        key = (record.pathname, record.lineno)
        now = time.monotonic()
        last, held_back = self._lines.get(key, (-self._period_s, 0))
        if now - last < self._period_s:
            self._lines[key] = (last, held_back + 1)
            return False
        self._lines[key] = (now, 0)
        if held_back:
            record.msg = f"{record.getMessage()} ({held_back} more like this since the last one)"
            record.args = ()
        return True
