"""What can go wrong, each with a text of one line."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import grpc

_LOCAL_FAILURE: Final = "Internal error from Core"
_STATUS_WAIT_S: Final = 1.0
_T = TypeVar("_T")


class MediaError(ValueError):
    """A media file or transcript can't be read."""


class MoodstreamError(Exception):
    """The server refused a call or failed in it. `code` is the gRPC status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


class ServerUnreachableError(MoodstreamError):
    """No server answers at the address."""


class StreamEndedError(MoodstreamError):
    """The connection was lost, or the server ended the stream, after the session had started and before it closed."""


class StatusWatch:
    """Remembers the statuses that a call is given, to tell the server's own.

    grpc.aio replaces the status that the server has sent by INTERNAL when a write fails at the same moment, as it does
    whenever the server ends a call that is being written (grpc/grpc#36066). So the callback takes each status as it is
    set, and `error` prefers one that the server sent.
    """

    def __init__(self, call: grpc.aio.Call) -> None:
        self._server_status: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._note)

    def _note(self, call: grpc.aio.Call) -> None:
        code, details = _finished(call.code()), _finished(call.details()) or ""
        if details != _LOCAL_FAILURE and not self._server_status.done():
            self._server_status.set_result((code, details))

    async def error(self, error: grpc.aio.AioRpcError, target: str, started: bool = False) -> MoodstreamError:
        """Return our exception for one of gRPC; `started` says that a session was already running."""
        code, details = error.code(), error.details() or ""
        if details == _LOCAL_FAILURE:
            with contextlib.suppress(TimeoutError):
                code, details = await asyncio.wait_for(asyncio.shield(self._server_status), _STATUS_WAIT_S)
        return from_status(code, details, target, started)


def from_status(code: grpc.StatusCode, details: str, target: str, started: bool = False) -> MoodstreamError:
    """Return the exception for a status; `started` says that a session was already running."""
    details = " ".join(details.split()) or "no details"
    if code == grpc.StatusCode.UNAVAILABLE and not started:
        return ServerUnreachableError(code, f"no server answers at {target} ({_cause(details)})")
    if code == grpc.StatusCode.UNAVAILABLE:
        return StreamEndedError(code, f"the connection to {target} was lost ({_cause(details)})")
    return MoodstreamError(code, details)


def _cause(details: str) -> str:
    """gRPC strings the causes of a broken connection together, the first cause last."""
    return details.rpartition(": ")[2]


def _finished(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return what a coroutine gives that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        value: _T = finished.value
        return value
    raise RuntimeError("the call has no status yet")
