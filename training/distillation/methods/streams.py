"""What a model says as a whole and what each of its modalities says alone, as one output each: the nodes between which
knowledge flows.

A multimodal output has, for every modality m that its task has, the feature `m` [B, D], what the modality carries in
its context before fusion, and `m.logits` [B, C], what it alone says; and as a whole `logits` and the feature
`penultimate`. A unimodal output is one stream, `fused`, with its last feature where none is called `penultimate`.
What a node knows is its answer, a distribution over classes, and the direction of its feature; both can be averaged.
Knows nothing of edges and losses.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from contract.labels import MODALITIES
from training.distillation.methods.modalities import fused_layer, modalities_of, representation, rows_with
from training.distillation.methods.numerics import length, unit
from training.distillation.outputs import Output

Streams = Mapping[str, Output]
"""By name."""
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


def own_streams(student: Output) -> dict[str, Output]:
    """Return the student's streams by their plain names, those that there are of `STREAMS`; raises ValueError."""
    return {name.rpartition(".")[2]: stream for name, stream in streams_of("student", student).items()}


def there(stream: Output, like: Tensor) -> Tensor:
    """Whether each sample has the stream, bool [B]; all have it where nothing is said about it. `like`: [B, ...]."""
    if stream.present is None:
        return torch.ones(len(like), dtype=torch.bool, device=like.device)
    return (stream.present > 0).any(1)


def presence(streams: Streams) -> Tensor:
    """Whether each sample has each stream, bool [B, K]."""
    return torch.stack([there(stream, answers_of(stream)) for stream in streams.values()], dim=1)


def among_present(weights: Tensor, streams: Streams) -> Tensor:
    """Give the weights [B, K] of streams that a sample lacks to its others, in proportion: rows still sum to 1.

    They are equal where the others had none, and all 0 for a sample that lacks every stream.
    """
    present = presence(streams)
    kept = torch.where(present, weights, 0.0)
    whole = kept.sum(dim=1, keepdim=True)
    even = present.to(weights.dtype) / present.sum(dim=1, keepdim=True).clamp_min(1)
    return torch.where(whole > 0, kept / torch.where(whole > 0, whole, 1.0), even)


def answers_of(stream: Output) -> Tensor:
    """Return the logits [B, C]; a stream has some."""
    assert stream.logits is not None
    return stream.logits


def apart(x: Tensor, y: Tensor) -> Tensor:
    """Return 1 - cos, [...], of vectors [..., D]; 1 where either is zero."""
    lengths = length(x) * length(y)
    return 1 - torch.where(lengths > 0, (x * y).sum(-1) / torch.where(lengths > 0, lengths, 1.0), 0.0)


def sureness(logits: Tensor) -> Tensor:
    """Return 1 - H(softmax(logits)) / log C, in [0, 1], [B]: 0 for an answer that says nothing."""
    log_p = logits.log_softmax(-1)
    most = torch.tensor(float(logits.shape[-1]), dtype=logits.dtype, device=logits.device).log()
    return (1 + (log_p.exp() * log_p).sum(-1) / most).clamp_min(0)


def knowledge(stream: Output) -> Tensor:
    """Return answer and direction side by side, [B, C + D]; 0 where the stream is not there."""
    x = torch.cat([answers_of(stream).softmax(-1), unit(stream.features[LAYER])], dim=1)
    return torch.where(there(stream, x).unsqueeze(1), x, 0.0)


def classes_of(streams: Streams) -> int:
    """Return C; raises ValueError where streams answer with different classes."""
    counts = {name: answers_of(stream).shape[1] for name, stream in streams.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"streams of one structure need the same classes, got {counts}")
    return next(iter(counts.values()))


def as_output(x: Tensor, classes: int, present: Tensor) -> Output:
    """Return mixed knowledge [B, C + D] as an output again, 0 where it is not `present` [B]."""
    mask = present.unsqueeze(1)
    answers = x[:, :classes].clamp_min(torch.finfo(x.dtype).tiny).log()
    directions = torch.where(mask, unit(x[:, classes:]), 0.0)
    return Output(torch.where(mask, answers, 0.0), features={LAYER: directions}, present=shown(present, x))


def shown(present: Tensor, like: Tensor) -> Tensor:
    """Return `present` [B] as that of an output, [B, 3]."""
    return present.unsqueeze(1).to(like.dtype).expand(-1, len(MODALITIES))


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
