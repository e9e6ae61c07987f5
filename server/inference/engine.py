"""The one interface between the front end and whatever runs the models. It knows no session and no media."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray

from contract.models import TensorSpec

Tensors = Mapping[str, NDArray[Any]]
"""Tensor name -> array with the batch as first dimension. BYTES tensors are object arrays of `bytes`."""


class EngineError(Exception):
    """A model refused its input or failed in a way that a second try would not mend."""

    def __init__(self, model: str, message: str) -> None:
        super().__init__(f"{model}: {message}")
        self.model = model


class ModelUnavailableError(EngineError):
    """The model can't answer now (dead stub, server restarting, queue full, deadline): a later call may succeed."""


@dataclass(frozen=True)
class LoadedModel:
    """A model as the engine serves it, read from its `config.pbtxt` and its session."""

    name: str
    versions: tuple[str, ...]
    ready: bool
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    parameters: Mapping[str, str] = field(default_factory=dict)
    providers: tuple[str, ...] = ()
    """Execution providers that the session really got, in order; empty for models without one."""


class Engine(Protocol):
    """Runs batches of tensors through named models. One per process; every method may be called concurrently."""

    name: str
    """`triton` or `onnxruntime`."""

    async def infer(self, model: str, inputs: Tensors, timeout_s: float) -> dict[str, NDArray[Any]]:
        """Run one batch and return the outputs by name.

        Raises:
            ModelUnavailableError: no answer within `timeout_s`, or the model is being repaired.
            EngineError: the model refused the input, or an output has another size than its shape says.
        """
        ...

    async def models(self) -> list[LoadedModel]:
        """Return every model of the repository with its present state."""
        ...

    async def answers(self) -> Mapping[str, bool]:
        """Return for each model whether it answers, as far as is known now; cheap enough for twice a second."""
        ...

    async def close(self) -> None:
        """Stop what was started; returns within 10 s."""
        ...
