"""`GetServerInfo`: what is served, by what, and within which limits."""

from importlib.metadata import version

from moodstream.v1 import service_pb2

from server.live.front import Front
from server.rpc.enums import EMOTION, ENGINE, MODALITY, POLARITY
from server.rpc.responses import limits_message


async def server_info(front: Front) -> service_pb2.GetServerInfoResponse:
    """Describe the server as it is now: the engine is asked for the state of its models."""
    models = await front.engine.models()
    return service_pb2.GetServerInfoResponse(
        version=version("moodstream"),
        engine=ENGINE[front.engine.name],
        engine_reason=front.engine_reason,
        models=[
            service_pb2.ModelInfo(
                name=model.name, versions=model.versions, ready=model.ready, providers=model.providers
            )
            for model in models
        ],
        emotions=EMOTION,
        polarities=POLARITY,
        modalities=MODALITY.values(),
        limits=limits_message(front.limits),
    )
