"""How a call fails: the gRPC status of each reason, with machine-readable details as Google's APIs have them.

The details are a `google.rpc.Status` in the trailing metadata `grpc-status-details-bin` (AIP-193), which the client
libraries of gRPC read.
"""

from typing import Any, Final, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from server.live.failures import Failure
from server.session.reasons import Reason

DOMAIN: Final = "moodstream"
"""`google.rpc.ErrorInfo.domain` of all our errors."""
DETAILS_KEY: Final = "grpc-status-details-bin"

_CODES: Final = {
    Reason.CONFIG_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.LIMIT_REACHED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.PACE_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.MEMORY_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.CLIENT_TOO_SLOW: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
    Reason.MODEL_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.CREDENTIALS_INVALID: grpc.StatusCode.UNAUTHENTICATED,
    Reason.NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.SESSION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.RESUME_GAP: grpc.StatusCode.OUT_OF_RANGE,
    Reason.SESSION_RESUMED: grpc.StatusCode.ABORTED,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.MODEL_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.NOT_SUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
}


def code_of(reason: Reason) -> grpc.StatusCode:
    """Return the status code of a reason."""
    return _CODES.get(reason, grpc.StatusCode.INVALID_ARGUMENT)


def status_of(failure: Failure) -> status_pb2.Status:
    """Return the status with its details."""
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=str(failure.reason), domain=DOMAIN)]
    code = code_of(failure.reason)
    if failure.retry_s is not None:
        delay = Duration()
        delay.FromMilliseconds(round(failure.retry_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        quota = error_details_pb2.QuotaFailure.Violation(subject=failure.field, description=failure.message)
        details.append(error_details_pb2.QuotaFailure(violations=[quota]))
    elif failure.field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=failure.field, description=failure.message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    return status_pb2.Status(code=code.value[0], message=failure.message, details=[_packed(one) for one in details])


async def abort_as(
    context: "grpc.aio.ServicerContext[Any, Any]", code: grpc.StatusCode, message: str, reason: Reason
) -> NoReturn:
    """End a call of a service that is not ours with its own code, and our reason in the details."""
    info = error_details_pb2.ErrorInfo(reason=str(reason), domain=DOMAIN)
    status = status_pb2.Status(code=code.value[0], message=message, details=[_packed(info)])
    await context.abort(code, message, ((DETAILS_KEY, status.SerializeToString()),))
    raise AssertionError("abort raises")


async def abort(context: "grpc.aio.ServicerContext[Any, Any]", failure: Failure) -> NoReturn:
    """End the call with the failure's status and details."""
    details = status_of(failure).SerializeToString()
    await context.abort(code_of(failure.reason), failure.message, ((DETAILS_KEY, details),))
    raise AssertionError("abort raises")


def _packed(message: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed
