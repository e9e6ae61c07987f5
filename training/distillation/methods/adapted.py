"""Methods that train something for every pair of layers, made once from example outputs."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from training.distillation.methods.base import Method
from training.distillation.methods.checks import Layers
from training.distillation.methods.matching import Pair, Where, pairs_of
from training.distillation.outputs import Output

Module = TypeVar("Module", bound=nn.Module)


def placed(module: Module, feature: Tensor) -> Module:
    """Put a module on the device of a feature; half precision is not for parameters: they are float32 then."""
    return module.to(feature.device, torch.float64 if feature.dtype == torch.float64 else torch.float32)


def regressor(ours: int, theirs: int) -> nn.Linear:
    """Return a linear map from the student's width to the teacher's; between equal widths it starts as the identity."""
    linear = nn.Linear(ours, theirs)
    if ours == theirs:
        nn.init.eye_(linear.weight)
        nn.init.zeros_(linear.bias)
    return linear


class Adapted(Method):
    """A method whose `adapters` hold a module for every pair of layers."""

    adapters: nn.ModuleDict

    def __init__(self, **hyperparameters: Any) -> None:
        super().__init__(**hyperparameters)
        self.adapters = nn.ModuleDict()
        self._widths: dict[str, tuple[int, int]] = {}

    @property
    def layers(self) -> Layers:
        """Pairs (student layer, teacher layer): the configuration's."""
        layers: Layers = self.config.layers
        return layers

    @property
    def where(self) -> Where:
        """Which layers are paired where `layers` is empty: what the configuration's `layer` says, else the last."""
        where: Where = getattr(self.config, "layer", "last")
        return where

    @abstractmethod
    def make(self, pair: Pair) -> nn.Module:
        """Create what is trained for the pair."""

    def build(self, student: Output, teachers: Mapping[str, Output]) -> None:
        """Create what is trained from the shapes of example outputs, on their device.

        Raises:
            ValueError: a layer is missing; says which there are.
        """
        for pairs in pairs_of(self.name, self.layers, student, teachers, self.where).values():
            for pair in pairs:
                self.adapters[pair.key] = placed(self.make(pair), pair.features[0])
                self._widths[pair.key] = pair.widths

    def adapter(self, pair: Pair) -> nn.Module:
        """Return what `build` made for the pair.

        Raises:
            ValueError: not built, or built with other teachers, layers or widths; says what to change.
        """
        if not self.adapters:
            raise ValueError(f"{self.name}: call build(student, teachers) once, before the optimiser is made")
        if pair.key not in self.adapters:
            raise ValueError(f"{self.name} was built without {pair}; build it with the outputs of all teachers")
        if self._widths[pair.key] != pair.widths:
            raise ValueError(
                f"{self.name} was built for {pair} with widths {self._widths[pair.key]}, and now they are "
                f"{pair.widths}; give it the models that it was built with, or build a new one"
            )
        return self.adapters[pair.key]
