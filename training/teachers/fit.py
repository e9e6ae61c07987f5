"""The one loop that fits teachers: whatever a net reads, whatever its loss is.

Knows neither data nor labels. Students are trained by training/engine, which distils.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """Of the optimiser, AdamW."""

    learning_rate: float
    """At its peak; it ends at 0."""
    weight_decay: float = 0.01
    warm_up: float = 0.1
    """Share of the steps before the peak; 0: a cosine from the peak on."""
    clip_norm: float = 1.0
    """Greatest norm of the gradient."""


def fit(
    net: nn.Module,
    batches: Iterable[T],
    steps: int,
    loss: Callable[[T], Tensor],
    pace: Pace,
    after: Callable[[int], None] = lambda step: None,
) -> None:
    """Train in place those parameters of a net that want a gradient.

    Args:
        net: in whatever mode it shall train.
        batches: so many as `steps`; drawn one at a time, so they may be made on the way.
        steps: how many.
        loss: of a batch, a scalar.
        pace: of the optimiser.
        after: called with the number of steps done, after each.
    """
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=pace.learning_rate, weight_decay=pace.weight_decay)
    schedule = _schedule(optimizer, steps, pace)
    for step, batch in enumerate(batches, start=1):
        value = loss(batch)
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, pace.clip_norm)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            log.info("step %d / %d  loss %.3f", step, steps, value.item())
        after(step)


def _schedule(optimizer: torch.optim.Optimizer, steps: int, pace: Pace) -> torch.optim.lr_scheduler.LRScheduler:
    if pace.warm_up == 0:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, pace.learning_rate, total_steps=steps + 1, pct_start=pace.warm_up
    )


def similar_lengths(texts: list[str], order: list[int], batch: int) -> list[list[int]]:
    """Return batches of places in `texts`, of similar lengths, drawn by torch's global generator.

    Args:
        texts: N of them.
        order: places, in random order; so many as 50 batches are sorted by length together.
        batch: size.
    """
    pools = [sorted(order[i : i + 50 * batch], key=lambda k: len(texts[k])) for i in range(0, len(order), 50 * batch)]
    parts = [pool[i : i + batch] for pool in pools for i in range(0, len(pool), batch)]
    return [parts[i] for i in torch.randperm(len(parts)).tolist()]
