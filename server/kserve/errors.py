"""The one way in which a KServe request fails, whatever the transport."""

import grpc


class KServeError(Exception):
    """A request that is not answered, with the status to end it with. The text is for the client."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code


def invalid(details: str) -> KServeError:
    """Return the error of a request that can't be meant."""
    return KServeError(grpc.StatusCode.INVALID_ARGUMENT, details)
