"""Teachers that are nets of the task itself, trained from its samples: any net that a student could be, only larger.

Either on samples that no student sees, or out of fold; then the features of the folds' nets are rotated onto those of
the net that all samples made (see training/teachers/probe.py).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from training.outputs import Output
from training.tasks.base import Inputs, Samples, Split
from training.teachers.cache import SPLITS
from training.teachers.probe import Turn

log = logging.getLogger(__name__)

Augment = Callable[[Inputs, torch.Generator], Inputs]
_POSITIONS = 20_000
"""Positions of sequences or maps that are enough to find a rotation."""


@dataclass(frozen=True)
class NetRecipe:
    """How a net is trained."""

    epochs: int
    learning_rate: float = 2e-3
    batch: int = 64
    weight_decay: float = 0.05
    smoothing: float = 0.1
    """Of the labels."""
    seed: int = 0

    def key(self) -> dict[str, object]:
        """For the cache."""
        return asdict(self)


def train_net(net: nn.Module, samples: Samples, augment: Augment, recipe: NetRecipe) -> nn.Module:
    """Train in place on inputs and targets, and return the net in evaluation mode."""
    assert samples.target is not None
    generator = torch.Generator().manual_seed(recipe.seed)
    steps = len(samples) // recipe.batch
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    pace = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps * recipe.epochs + 1, pct_start=0.15
    )
    net.train()
    for epoch in range(recipe.epochs):
        total = 0.0
        for index in torch.randperm(len(samples), generator=generator)[: steps * recipe.batch].view(steps, -1):
            inputs = augment({name: tensor[index] for name, tensor in samples.inputs.items()}, generator)
            loss = nn.functional.cross_entropy(
                net(inputs).logits, samples.target[index], label_smoothing=recipe.smoothing
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            pace.step()
            total += loss.item()
        log.info("epoch %d / %d  loss %.3f", epoch + 1, recipe.epochs, total / steps)
    return net.eval()


@torch.inference_mode()
def outputs_of(net: nn.Module, inputs: Inputs, batch: int = 128) -> Output:
    """Return a net's outputs for any number of samples, sequences and maps in half precision."""
    count = len(next(iter(inputs.values())))
    parts: list[Output] = [
        net({name: tensor[start : start + batch] for name, tensor in inputs.items()})
        for start in range(0, count, batch)
    ]
    features = {name: torch.cat([_halved(part.features[name]) for part in parts]) for name in parts[0].features}
    masks = {name: torch.cat([part.masks[name] for part in parts]) for name in parts[0].masks}
    return Output(logits=torch.cat([_present(part.logits) for part in parts]), features=features, masks=masks)


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
        samples: of every split.
        fold: int64 [N] of the training samples.
        augment: the task's.
        recipe: see there.
    """
    train = samples["train"]
    whole = _made(make, train, augment, recipe)
    outputs: dict[Split, Output] = {
        split: outputs_of(whole, samples[split].inputs) for split in SPLITS if split != "train"
    }
    target = outputs_of(whole, train.inputs)
    outputs["train"] = Output(
        torch.zeros_like(_present(target.logits)),
        features={name: torch.zeros_like(feature) for name, feature in target.features.items()},
        masks=target.masks,
    )
    for number in torch.unique(fold).tolist():
        log.info("fold %d", number)
        unseen = fold == number
        net = _made(make, train.take(torch.nonzero(~unseen)[:, 0]), augment, recipe)
        _fill(outputs["train"], outputs_of(net, train.inputs), target, unseen)
    return outputs


def _made(make: Callable[[], nn.Module], samples: Samples, augment: Augment, recipe: NetRecipe) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return train_net(make(), samples, augment, recipe)


def _fill(into: Output, own: Output, whole: Output, unseen: Tensor) -> None:
    """Write a fold net's outputs for the samples it has not seen, its features turned onto those of `whole`."""
    _present(into.logits)[unseen] = _present(own.logits)[unseen]
    for name, feature in own.features.items():
        mask = own.masks.get(name)
        seen = _positions(feature, mask, ~unseen)
        turn = Turn.onto(seen, _positions(whole.features[name], mask, ~unseen))
        part = _channels_last(feature[unseen]).float()
        turned = turn(part) if mask is None else torch.where(mask[unseen].unsqueeze(-1) > 0, turn(part), 0.0)
        into.features[name][unseen] = _channels_first(turned, feature.ndim).to(feature.dtype)


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


def _present(tensor: Tensor | None) -> Tensor:
    assert tensor is not None, "nets of a task classify"
    return tensor
