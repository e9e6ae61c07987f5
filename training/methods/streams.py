"""What a model says as a whole and what each of its modalities says alone, as one output each: the nodes between which
knowledge flows.

A multimodal output has, for every modality m that its task has, the feature `m` [B, D], what the modality carries in
its context before fusion, and `m.logits` [B, C], what it alone says; and as a whole `logits` and the feature
`penultimate`. A unimodal output is one stream, `fused`, with its last feature where none is called `penultimate`.
Knows nothing of edges and losses.
"""

import torch
from torch import Tensor

from contract.labels import MODALITIES
from training.methods.modalities import fused_layer, modalities_of, representation, rows_with
from training.outputs import Output

STREAMS = (*MODALITIES, "fused")
LAYER = "penultimate"
"""The one feature that a stream's output has."""


def streams_of(name: str, output: Output) -> dict[str, Output]:
    """Split an output into its streams, those that there are of `name.audio`, `name.video`, `name.text`, `name.fused`.

    Each has `logits` [B, C] and the feature `penultimate` [B, D], and in `present` [B, 3] its own modality alone
    (`fused`: all). Where a sample lacks a stream both are 0, whatever stood there, NaN included.

    Raises:
        ValueError: logits or a feature are missing; says which were expected.
    """
    layers = {modality: modality for modality in modalities_of(output)}
    layers["fused"] = (LAYER if layers else fused_layer(output)) or LAYER
    return {f"{name}.{stream}": _stream(f"{name}.{stream}", output, layer) for stream, layer in layers.items()}


def there(stream: Output, like: Tensor) -> Tensor:
    """Whether each sample has the stream, bool [B]; all have it where nothing is said about it. `like`: [B, ...]."""
    if stream.present is None:
        return torch.ones(len(like), dtype=torch.bool, device=like.device)
    return (stream.present > 0).any(1)


def _stream(name: str, output: Output, layer: str) -> Output:
    alone = layer in MODALITIES
    logits = output.features.get(f"{layer}.logits") if alone else output.logits
    if logits is None or logits.ndim != 2 or logits.shape[1] < 2 or layer not in output.features:
        tensors = {"logits": output.logits, **output.features}
        gives = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in tensors.items() if tensor is not None)
        raise ValueError(
            f"the stream {name} needs {f'{layer}.logits' if alone else 'logits'!r} [B, C] of two or more classes and a "
            f"feature {layer!r}; its model gives {gives or 'neither'}"
        )
    present = output.present
    if present is not None and alone:
        present = present * torch.tensor([float(layer == modality) for modality in MODALITIES]).to(present)
    logits = torch.where(rows_with(output, layer).unsqueeze(1), logits, 0.0)
    return Output(logits, features={LAYER: representation(output, layer)}, present=present)
