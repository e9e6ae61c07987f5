"""Where a run stands besides its weights. Knows plain containers only, so that it fits into a checkpoint."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from training.distillation import Metrics
from training.distillation.weighers import WeightRecorder
from training.engine.checkpoint import State
from training.engine.meters import Stopwatch
from training.engine.schedule import EarlyStopping

_WEIGHT, _SPREAD = "weight/", "weight_std/"


@dataclass
class Progress:
    """Steps done, the best evaluation so far, and what was measured on the way."""

    step: int = 0
    stopping: EarlyStopping = field(default_factory=EarlyStopping)
    best: dict[str, Tensor] = field(default_factory=dict)
    """The student's weights at the best evaluation."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row an evaluation: `step`, means of what steps measured since the one before, and `valid/METRIC`."""
    weights: WeightRecorder = field(default_factory=WeightRecorder)
    """Weights of teachers, one row an evaluation."""
    watch: Stopwatch = field(default_factory=Stopwatch)
    stopped: str = ""
    """Why the run ended before its last step: `patience` or `seconds`."""
    _sums: dict[str, tuple[Tensor, int]] = field(default_factory=dict)

    def count(self, metrics: Metrics) -> None:
        """Add what a step measured; stays on the device, as reading would wait for it."""
        self.step += 1
        for name, value in metrics.items():
            total, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = (total + value, count + 1)

    def close_row(self, valid: dict[str, float]) -> dict[str, float]:
        """Take means since the last row, with the validation metrics make a new one, and return it."""
        means = {name: float(total) / count for name, (total, count) in self._sums.items()}
        self._sums.clear()
        weights, spreads = (
            {name.removeprefix(prefix): mean for name, mean in means.items() if name.startswith(prefix)}
            for prefix in (_WEIGHT, _SPREAD)
        )
        if weights:
            self.weights.add(self.step, weights, spreads)
        row = {"step": self.step, **means, **{f"valid/{name}": value for name, value in valid.items()}}
        self.history.append(row)
        return row

    def state(self) -> State:
        """Return everything; asked for right after a row was closed."""
        return {
            "step": self.step,
            "stopping": vars(self.stopping).copy(),
            "best": self.best,
            "history": self.history,
            "weights": self.weights.state_dict(),
            "watch": self.watch.seconds,
            "stopped": self.stopped,
        }

    @classmethod
    def of_state(cls, state: State) -> "Progress":
        """Make it again from what `state` returned."""
        weights = WeightRecorder()
        weights.load_state_dict(state["weights"])
        return cls(
            state["step"],
            EarlyStopping(**state["stopping"]),
            state["best"],
            state["history"],
            weights,
            Stopwatch(state["watch"]),
            state["stopped"],
        )
