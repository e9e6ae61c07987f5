"""What can go wrong, each with a text of one line."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2

_LOCAL_FAILURE: Final = "Internal error from Core"
_STATUS_WAIT_S: Final = 1.0
_T = TypeVar("_T")


class MediaError(ValueError):
    """A media file or transcript can't be read."""


class MoodstreamError(Exception):
    """The server refused a call or failed in it."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str = "") -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        """The gRPC status."""
        self.message = message
        self.reason = reason
        """The stable reason, for programs: a name of `ErrorReason` without its prefix; empty where none was given."""


class ServerUnreachableError(MoodstreamError):
    """No server answers at the address."""


class StreamEndedError(MoodstreamError):
    """The connection was lost, or the server ended the stream, after the session had started and before it closed."""


class NotResumedError(StreamEndedError):
    """The connection was lost, and the session can't be resumed."""


class StatusWatch:
    """Remembers the statuses that a call is given, to tell the server's own.

    grpc.aio replaces the status that the server has sent by INTERNAL when a write fails at the same moment, as it does
    whenever the server ends a call that is being written (grpc/grpc#36066). So the callback takes each status as it is
    set, and `error` prefers one that the server sent.
    """

    def __init__(self, call: grpc.aio.Call) -> None:
        self._server_status: asyncio.Future[_Status] = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._note)

    def _note(self, call: grpc.aio.Call) -> None:
        code, details = _finished(call.code()), _finished(call.details()) or ""
        if details != _LOCAL_FAILURE and not self._server_status.done():
            self._server_status.set_result((code, details, reason_of(_finished(call.trailing_metadata()))))

    async def error(self, error: grpc.aio.AioRpcError, target: str, started: bool = False) -> MoodstreamError:
        """Return our exception for one of gRPC; `started` says that a session was already running."""
        status = error.code(), error.details() or "", reason_of(error.trailing_metadata())
        if status[1] == _LOCAL_FAILURE:
            with contextlib.suppress(TimeoutError):
                status = await asyncio.wait_for(asyncio.shield(self._server_status), _STATUS_WAIT_S)
        code, details, reason = status
        return from_status(code, details, target, started, reason)


_Status = tuple[grpc.StatusCode, str, str]
"""Code, details, and the stable reason or nothing."""


def reason_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Return the reason in the status details of a call (`google.rpc.ErrorInfo`), or nothing."""
    for key, value in metadata or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return str(info.reason)
    return ""


def from_status(
    code: grpc.StatusCode, details: str, target: str, started: bool = False, reason: str = ""
) -> MoodstreamError:
    """Return the exception for a status; `started` says that a session was already running."""
    details = " ".join(details.split()) or "no details"
    if reason or code != grpc.StatusCode.UNAVAILABLE:
        return MoodstreamError(code, details, reason)
    if started:
        return StreamEndedError(code, f"the connection to {target} was lost ({_cause(details)})")
    return ServerUnreachableError(code, f"no server answers at {target} ({_cause(details)})")


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
