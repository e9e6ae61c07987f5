"""When the learning rate rises and falls, when validation is due, and when a run has had enough. Pure arithmetic."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field


def cosine(total_steps: int, warmup: float) -> Callable[[int], float]:
    """Return the learning rate's factor by step: from 1/W to 1 over W = warmup * total steps, then a cosine to 0.

    The factor at `total_steps` is 0; steps beyond it stay there.
    """
    rise = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        progress = min(1.0, (step - rise) / max(1, total_steps - rise))
        return 0.5 * (1 + math.cos(math.pi * progress))

    return factor


def evaluation_steps(total_steps: int, evaluations: int) -> frozenset[int]:
    """Return after how many steps validation is measured: evenly spread, the last one at the end.

    With `evaluations` 0 once in 100 steps, at least once and at most 20 times.
    """
    count = min(evaluations or max(1, min(20, total_steps // 100)), total_steps)
    return frozenset(round(total_steps * (i + 1) / count) for i in range(count))


@dataclass
class EarlyStopping:
    """Keeps which evaluation was best, and says when to stop."""

    patience: int = 0
    """Evaluations without a better one after which to stop; 0: never."""
    lower_is_better: bool = False
    best: float = field(default=float("nan"))
    """Value of the best evaluation; NaN before the first."""
    best_step: int = -1
    waited: int = 0
    """Evaluations since the best."""

    def update(self, value: float, step: int) -> bool:
        """Take the validation metric after `step`; return whether it's the best so far. Of equal ones the first counts.

        Raises:
            FloatingPointError: the value is NaN, so the run has diverged.
        """
        if math.isnan(value):
            raise FloatingPointError(f"the validation metric is NaN after {step} steps: lower budget.learning_rate")
        better = self.best_step < 0 or (value < self.best if self.lower_is_better else value > self.best)
        if better:
            self.best, self.best_step, self.waited = value, step, 0
        else:
            self.waited += 1
        return better

    @property
    def exhausted(self) -> bool:
        """Whether the patience is used up."""
        return 0 < self.patience <= self.waited
