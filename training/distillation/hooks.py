"""An `Output` from any module: its answer, and what passed through layers that are named, by forward hooks.

A torchvision or transformers model meets every method on features so, without a change to it:

    output = observed(resnet, ["layer2", "layer4"], images)
    output = observed(bert, ["bert.encoder.layer.1"], mask=attention_mask, **inputs)

Hooks live as long as one call, so a module can be copied, exported and called elsewhere as ever.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from training.distillation.outputs import Output
from training.names import check_name

Layers = Sequence[str] | Mapping[str, str]
"""Paths of submodules (`nn.Module.named_modules`); or name of the feature -> path."""


def observed(module: nn.Module, layers: Layers, *args: Any, mask: Tensor | None = None, **kwargs: Any) -> Output:
    """Call a module and return what it answers, and the outputs of its layers as features.

    Args:
        module: answers with logits [B, C], with something that has them as `logits` (a ModelOutput, a mapping), or with
            an Output, to which features are added.
        layers: whose outputs to keep: [B, T, D], [B, D, H, W] or [B, D]; of a tuple or ModelOutput the first tensor.
            One that runs several times is kept as it was the last time. In the order of `Output.features`.
        args: of the call.
        mask: [B, T], 1 where a sequence has a step; the mask of every feature [B, T, D] of that length.
        kwargs: of the call.

    Raises:
        ValueError: no such layer, with the nearest that there is; or one that did not run, or gave no tensor.
    """
    paths = dict(layers) if isinstance(layers, Mapping) else {path: path for path in layers}
    known = dict(module.named_modules())
    for path in paths.values():
        check_name("layer", path, known)
    with _recorded({path: known[path] for path in paths.values()}) as seen:
        answer = module(*args, **kwargs)
    output = answer if isinstance(answer, Output) else Output(_logits(answer))
    for name, path in paths.items():
        if path not in seen:
            raise ValueError(f"the layer {path!r} did not run, or gave no tensor: choose one that does")
        output.features[name] = seen[path]
        if mask is not None and seen[path].ndim == 3 and seen[path].shape[1] == mask.shape[1]:
            output.masks[name] = mask
    return output


class Hooked(nn.Module):
    """A module as a Distiller takes a student: it gives an Output, with the named layers as features."""

    def __init__(self, module: nn.Module, layers: Layers = (), mask: str = "attention_mask") -> None:
        """Keep the module, whose parameters these are.

        Args:
            module: see `observed`.
            layers: see `observed`.
            mask: which of the inputs, where they have names, is the mask of sequences.
        """
        super().__init__()
        self.module, self.layers, self.mask = module, layers, mask

    def forward(self, inputs: Any) -> Output:
        """Call the module with a mapping's items as keywords, or with anything else as it is."""
        if isinstance(inputs, Mapping):
            return observed(self.module, self.layers, mask=inputs.get(self.mask), **inputs)
        return observed(self.module, self.layers, inputs)


@contextmanager
def _recorded(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    seen: dict[str, Tensor] = {}

    def keep(path: str, value: Any) -> None:
        if (tensor := _first_tensor(value)) is not None:
            seen[path] = tensor

    handles = [
        module.register_forward_hook(lambda _module, _args, value, path=path: keep(path, value))
        for path, module in modules.items()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _first_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, Sequence) else ()
    return next((item for item in items if isinstance(item, Tensor)), None)


def _logits(answer: Any) -> Tensor | None:
    found = answer.get("logits") if isinstance(answer, Mapping) else getattr(answer, "logits", answer)
    return found if isinstance(found, Tensor) and found.ndim == 2 else None
