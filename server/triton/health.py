"""Which models answer, who wants to know, and when one must be looked at again. No I/O."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

logger = logging.getLogger("moodstream.triton")


@dataclass(frozen=True)
class ModelEvent:
    """A model stopped answering, or answers again."""

    model: str
    available: bool
    message: str


Listener = Callable[[ModelEvent], None]


@dataclass
class _State:
    available: bool = True
    last_success: float = field(default_factory=time.monotonic)
    doubt: asyncio.Event = field(default_factory=asyncio.Event)


class Health:
    """The state of each model, fed by those who call the models and by the supervisor.

    Callers report `succeeded` and `failed`; the supervisor waits with `wait_for_doubt` and decides with
    `set_available`.
    """

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}
        self._listeners: list[Listener] = []

    def watch(self, models: Iterable[str]) -> None:
        """Begin to keep the state of these models, which answer now."""
        self._states = {model: _State() for model in models}

    def available(self, model: str) -> bool:
        """False while the model is known not to answer. Models that are not watched count as available."""
        state = self._states.get(model)
        return state is None or state.available

    def succeeded(self, model: str) -> None:
        """Note that the model has just answered a caller, which saves the next probe."""
        if state := self._states.get(model):
            state.last_success = time.monotonic()

    def last_success(self, model: str) -> float:
        """Return when the model last answered a caller or a probe, on the monotonic clock."""
        return self._states[model].last_success

    def failed(self, model: str) -> None:
        """Note that a caller got no answer: the supervisor looks at the model now.

        Of an ensemble, which is not watched itself, any part may be to blame: all models are looked at. What the caller
        was told plays no part: an error can quote the request, and so anybody's words.
        """
        if state := self._states.get(model):
            state.doubt.set()
        else:
            for state in self._states.values():
                state.doubt.set()

    async def wait_for_doubt(self, model: str, period_s: float) -> None:
        """Wait until a caller complained, or the model has not answered anyone for `period_s`."""
        state = self._states[model]
        while not state.doubt.is_set():
            left_s = state.last_success + period_s - time.monotonic()
            if left_s <= 0:
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if math.isinf(left_s) else left_s):
                    await state.doubt.wait()
        state.doubt.clear()

    def set_available(self, model: str, available: bool, message: str = "") -> None:
        """Decide whether the model answers and tell the listeners when that is news."""
        state = self._states[model]
        if available:
            state.last_success = time.monotonic()
        if state.available == available:
            return
        state.available = available
        logger.log(logging.INFO if available else logging.WARNING, "model %s: %s", model, message)
        event = ModelEvent(model, available, message)
        for listener in tuple(self._listeners):
            listener(event)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` in the event loop with every later event; call what is returned to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)
