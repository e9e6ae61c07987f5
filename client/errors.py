"""What can go wrong, each with a text of one line."""

import grpc


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


def from_rpc(error: grpc.aio.AioRpcError, target: str, started: bool = False) -> MoodstreamError:
    """Return our exception for one of gRPC; `started` says that a session was already running."""
    code = error.code()
    details = " ".join((error.details() or "no details").split())
    if code == grpc.StatusCode.UNAVAILABLE and not started:
        return ServerUnreachableError(code, f"no server answers at {target} ({details})")
    if code == grpc.StatusCode.UNAVAILABLE:
        return StreamEndedError(code, f"the connection to {target} was lost ({details})")
    return MoodstreamError(code, details)
