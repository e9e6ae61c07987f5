"""Knows whether the models answer, and tells the health service: a server whose Triton is dead is not SERVING."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from grpc_health.v1 import health, health_pb2

from server.inference.engine import Engine, EngineError
from server.metrics import MODEL_AVAILABLE

logger = logging.getLogger(__name__)

_PERIOD_S: Final = 0.5
_TIMEOUT_S: Final = 1.0


class Readiness:
    """Looks at the engine twice a second, so that the world knows within two seconds."""

    def __init__(self, engine: Engine, checks: health.aio.HealthServicer, services: Sequence[str]) -> None:
        self._engine = engine
        self._checks = checks
        self._services = services
        self.is_ready = True
        """True while every model answers."""

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self._look()
            await asyncio.sleep(_PERIOD_S)

    async def _look(self) -> None:
        away = await self._away()
        ready = not away
        if ready != self.is_ready:
            logger.warning("the models answer again" if ready else f"not ready: {', '.join(away)}")
        self.is_ready = ready
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in self._services:
            await self._checks.set(service, status)

    async def _away(self) -> list[str]:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                states = await self._engine.answers()
        except (TimeoutError, EngineError):
            return [self._engine.name]
        for model, answers in states.items():
            MODEL_AVAILABLE.labels(model).set(answers)
        return [model for model, answers in states.items() if not answers]
