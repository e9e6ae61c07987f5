"""Batches as index tensors over samples in memory: which samples a step sees is a function of seed and step alone.

So a resumed run needs no state of a loader, several processes agree without talking, and nothing is ever copied to
workers. What is drawn, shared out and held out are units: whole conversations where the samples are utterances of some.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from training.data.task import Inputs, Samples
from training.data.units import Units
from training.distillation.example import Example
from training.distillation.outputs import Batch, Output
from training.engine.tables import RecipeError

Augment = Callable[[Inputs], Inputs]
Prepare = Callable[[Example, torch.Generator], Example]


class Order:
    """A fresh permutation for every epoch; the last, smaller batch of an epoch is left out."""

    def __init__(self, units: Units, batch: int, seed: int, rank: int = 0, processes: int = 1) -> None:
        """Keep the units to draw from, `batch` of them for a step over all processes.

        Raises:
            RecipeError: fewer units than a batch, or a batch that doesn't divide into the processes.
        """
        if len(units) < batch:
            raise RecipeError(f"budget.batch: {batch} is more than the {len(units)} training {units.noun}")
        if batch % processes:
            raise RecipeError(f"budget.batch: {batch} {units.noun} do not divide into {processes} processes")
        self.units, self.batch, self.seed, self.processes = units, batch, seed, processes
        self._part = slice(rank * batch // processes, (rank + 1) * batch // processes)
        self._epoch, self._shuffled = -1, torch.arange(0)

    def at(self, step: int) -> Tensor:
        """Return this process's positions at `step`: those of the samples of batch / processes units."""
        return self.units.rows(self._drawn(step)[self._part])

    def sample_weight(self, step: int) -> float:
        """Return what a sample counts in its process's loss, so that the mean of all processes' gradients is that of
        all samples of the step, however many each process has of them."""
        return self.processes / len(self.units.rows(self._drawn(step)))

    def _drawn(self, step: int) -> Tensor:
        """The units of a step, for all processes."""
        epoch, place = divmod(step, len(self.units) // self.batch)
        if epoch != self._epoch:
            generator = stream(self.seed, "order", epoch)
            self._epoch, self._shuffled = epoch, torch.randperm(len(self.units), generator=generator)
        return self._shuffled[place * self.batch : (place + 1) * self.batch]


def stream(seed: int, purpose: str, step: int, rank: int = 0) -> torch.Generator:
    """Return a generator that depends on nothing but its arguments."""
    generator = torch.Generator()
    mixed = f"{seed}/{purpose}/{step}/{rank}".encode()
    return generator.manual_seed(int.from_bytes(_digest(mixed), "big"))


def split_held_out(samples: Samples, part: float, seed: int) -> tuple[Tensor, Tensor]:
    """Divide positions into (kept, held out), both ascending.

    Whole conversations are held out where samples are utterances, else whole speakers where speakers are known.

    Raises:
        RecipeError: the training set is too small for the part.
    """
    wholes = samples.groups.get("speaker", torch.arange(len(samples))) if samples.unit is None else samples.unit
    names = torch.unique(wholes)
    count = max(1, round(part * len(names)))
    if count >= len(names):
        noun = "speakers" if samples.unit is None else "conversations"
        raise RecipeError(f"held_out: {part} of {len(names)} {noun} leaves nothing to train on")
    chosen = names[torch.randperm(len(names), generator=stream(seed, "held_out", 0))[:count]]
    held = torch.isin(wholes, chosen)
    return (~held).nonzero().squeeze(1), held.nonzero().squeeze(1)


class Source:
    """Makes examples of a split's samples: inputs, labels, and what the teachers say, looked up by position."""

    def __init__(
        self,
        samples: Samples,
        teachers: Mapping[str, Output],
        device: torch.device,
        total_steps: int,
        prepare: Prepare | None = None,
        seed: int = 0,
    ) -> None:
        self.samples, self.teachers = samples, dict(teachers)
        self.device, self.total_steps = device, total_steps
        self.prepare, self.seed = prepare, seed

    def example(self, index: Tensor, step: int = 0, augment: Augment | None = None) -> Example:
        """Return the samples at `index` on the device, prepared, and augmented where `augment` is given."""
        inputs = {name: tensor[index] for name, tensor in self.samples.inputs.items()}

        def rows(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[index].to(self.device)

        target, score, unit = rows(self.samples.target), rows(self.samples.score), rows(self.samples.unit)
        labels = {name: tensor[index].to(self.device) for name, tensor in self.samples.labels.items()}
        batch = Batch(target, score, index.to(self.device), step, self.total_steps, unit, labels)
        teachers = {name: output.at(index, self.device) for name, output in self.teachers.items()}
        example = Example(inputs, batch, teachers)
        if self.prepare is not None:
            first = int(index[0]) if len(index) else 0
            example = self.prepare(example, stream(self.seed, "prepare", step, first))
        inputs = augment(example.inputs) if augment else example.inputs
        return replace(example, inputs={name: tensor.to(self.device) for name, tensor in inputs.items()})


class HeldOutSource:
    """The held-out units of a source, for the outer steps; not augmented."""

    def __init__(self, source: Source, units: Units) -> None:
        self.source, self.units = source, units

    def __len__(self) -> int:
        """Return how many units are held out."""
        return len(self.units)

    def fetch(self, indices: Sequence[int]) -> Example:
        """Return all samples of the held-out units of these numbers, which count from 0 to `len`."""
        return self.source.example(self.units.rows(torch.as_tensor(indices, dtype=torch.int64)))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=7).digest()
