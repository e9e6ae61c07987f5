"""Teachers that are nets of the task itself, trained from its samples: any net that a student could be, only larger.

Either on samples that no student sees, or out of fold; then the features of the folds' nets are rotated onto those of
the net that all samples made (see training/teachers/probe.py). Conversations come in whole.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from training.data.task import Inputs, Samples, Split
from training.data.units import Units
from training.distillation.outputs import Output
from training.teachers.fit import Pace, fit
from training.teachers.net_recipes import LOGITS, NetRecipe, ScoredRecipe, known, there_of
from training.teachers.probe import Procrustes

log = logging.getLogger(__name__)

Augment = Callable[[Inputs, torch.Generator], Inputs]
_POSITIONS = 20_000
"""Positions of sequences or maps that are enough to find a rotation."""


def train_net(
    net: nn.Module, samples: Samples, augment: Augment, recipe: NetRecipe, valid: Samples | None = None
) -> nn.Module:
    """Train in place on inputs, targets and scores, and return the net in evaluation mode.

    Args:
        net: untrained.
        samples: to train on.
        augment: the task's.
        recipe: see there.
        valid: chooses the epoch; None: the last one.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    units = Units.of(samples.unit, torch.arange(len(samples)))
    steps = len(units) // recipe.batch
    best: dict[str, Tensor] = {}
    least = float("inf")

    def batches() -> Iterator[Tensor]:
        for _ in range(recipe.epochs):
            net.train()
            yield from torch.randperm(len(units), generator=generator)[: steps * recipe.batch].view(steps, -1)

    def loss(chosen: Tensor) -> Tensor:
        part = samples.take(units.rows(chosen))
        return _loss(net(augment(part.inputs, generator)), part, recipe)

    def keep_best(step: int) -> None:
        nonlocal best, least
        if valid is None or step % steps:
            return
        now = _loss(outputs_of(net.eval(), valid.inputs, unit=valid.unit), valid, recipe).item()
        if now < least:
            best, least = deepcopy(net.state_dict()), now

    pace = Pace(recipe.learning_rate, recipe.weight_decay, warm_up=0.15)
    fit(net, batches(), steps * recipe.epochs, loss, pace, keep_best)
    if best:
        net.load_state_dict(best)
    return net.eval()


@torch.inference_mode()
def outputs_of(net: nn.Module, inputs: Inputs, batch: int = 128, unit: Tensor | None = None) -> Output:
    """Return a net's outputs for any number of samples, sequences and maps in half precision.

    Args:
        net: in evaluation mode.
        inputs: [N, ...].
        batch: samples at a time.
        unit: int64 [N], see `Samples.unit`; none is split.
    """
    rows = Units.of(unit, torch.arange(len(next(iter(inputs.values()))))).chunks(batch)
    parts: list[Output] = [net({name: tensor[part] for name, tensor in inputs.items()}) for part in rows]
    features = {name: torch.cat([_halved(part.features[name]) for part in parts]) for name in parts[0].features}
    masks = {name: torch.cat([part.masks[name] for part in parts]) for name in parts[0].masks}
    scores, presence = [part.score for part in parts], [part.present for part in parts]
    return Output(
        torch.cat([known(part.logits) for part in parts]),
        None if parts[0].score is None else torch.cat([known(score) for score in scores]),
        features=features,
        masks=masks,
        present=None if parts[0].present is None else torch.cat([known(present) for present in presence]),
    )


def out_of_fold_nets(
    make: Callable[[], nn.Module],
    samples: Mapping[Split, Samples],
    fold: Tensor,
    augment: Augment,
    recipe: NetRecipe,
) -> dict[Split, Output]:
    """Train one net on all training samples and one a fold; what the latter say about their fold is kept for `train`.

    Args:
        make: makes an untrained net, from torch's global generator, which is seeded here.
        samples: of every split; those of one conversation share a fold.
        fold: int64 [N] of the training samples.
        augment: the task's.
        recipe: a ScoredRecipe chooses the epoch of every net on `valid`.
    """
    train = samples["train"]
    valid = samples["valid"] if isinstance(recipe, ScoredRecipe) else None
    whole = _made(make, train, augment, recipe, valid)
    outputs = {split: outputs_of(whole, part.inputs, unit=part.unit) for split, part in samples.items()}
    target = outputs["train"]
    outputs["train"] = _zeros_like(target)
    for number in torch.unique(fold).tolist():
        log.info("fold %d", number)
        unseen = fold == number
        net = _made(make, train.take(torch.nonzero(~unseen)[:, 0]), augment, recipe, valid)
        _fill(outputs["train"], outputs_of(net, train.inputs, unit=train.unit), target, unseen)
    return outputs


def mean_of(outputs: Sequence[Output]) -> Output:
    """Return the mean of the logits and scores of several nets; their features are of different spaces."""

    def mean(tensors: Sequence[Tensor | None]) -> Tensor:
        return torch.stack([known(tensor) for tensor in tensors]).mean(0)

    answers = mean([output.logits for output in outputs]), mean([output.score for output in outputs])
    return Output(*answers, present=outputs[0].present)


def _loss(output: Output, samples: Samples, recipe: NetRecipe) -> Tensor:
    assert samples.target is not None
    return recipe.loss(output, samples.target, samples.score)


def _made(
    make: Callable[[], nn.Module], samples: Samples, augment: Augment, recipe: NetRecipe, valid: Samples | None
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return train_net(make(), samples, augment, recipe, valid)


def _zeros_like(output: Output) -> Output:
    return Output(
        torch.zeros_like(known(output.logits)),
        None if output.score is None else torch.zeros_like(output.score),
        features={name: torch.zeros_like(feature) for name, feature in output.features.items()},
        masks=output.masks,
        present=output.present,
    )


def _fill(into: Output, own: Output, whole: Output, unseen: Tensor) -> None:
    """Write a fold net's outputs for the samples it has not seen, its features rotated onto those of `whole`."""
    known(into.logits)[unseen] = known(own.logits)[unseen]
    if own.score is not None:
        known(into.score)[unseen] = own.score[unseen]
    for name, feature in own.features.items():
        if name.endswith(LOGITS):
            into.features[name][unseen] = feature[unseen]
            continue
        mask = there_of(own, name)
        seen = _positions(feature, mask, ~unseen)
        rotate = Procrustes.onto(seen, _positions(whole.features[name], mask, ~unseen))
        part = _channels_last(feature[unseen]).float()
        rotated = rotate(part) if mask is None else torch.where(mask[unseen].unsqueeze(-1) > 0, rotate(part), 0.0)
        into.features[name][unseen] = _channels_first(rotated, feature.ndim).to(feature.dtype)


def _positions(feature: Tensor, mask: Tensor | None, rows: Tensor) -> Tensor:
    """Return [M, D], at most so many positions of the samples in `rows`, evenly chosen."""
    flat = _channels_last(feature[rows])
    flat = flat.flatten(0, -2) if mask is None else flat[mask[rows] > 0]
    return flat[:: max(1, len(flat) // _POSITIONS)].float()


def _channels_last(feature: Tensor) -> Tensor:
    return feature.movedim(1, -1) if feature.ndim == 4 else feature


def _channels_first(feature: Tensor, ndim: int) -> Tensor:
    return feature.movedim(-1, 1) if ndim == 4 else feature


def _halved(feature: Tensor) -> Tensor:
    return feature.half() if feature.ndim > 2 else feature.float()
