"""Who looks on while a run goes: a progress bar, TensorBoard. They see numbers and change nothing."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Watcher(Protocol):
    """Told of every step and of every evaluation; a context that lasts as long as the run."""

    def __enter__(self) -> "Watcher": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def begin(self, title: str, start: int, total: int) -> None:
        """A run starts, or goes on, at step `start` of `total`."""

    def stepped(self, step: int) -> None:
        """So many steps are done."""

    def evaluated(self, step: int, numbers: Mapping[str, float]) -> None:
        """Means since the last evaluation, and the validation metrics as `valid/NAME`."""


class Silence:
    """Nobody looks on."""

    def __enter__(self) -> "Silence":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begin(self, title: str, start: int, total: int) -> None:
        """Ignore."""

    def stepped(self, step: int) -> None:
        """Ignore."""

    def evaluated(self, step: int, numbers: Mapping[str, float]) -> None:
        """Ignore."""


class Bar(Silence):
    """A progress bar on the console, with the loss and the validation metric."""

    def __init__(self, metric: str, console: Console | None = None) -> None:
        self.metric = metric
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, TextColumn("{task.fields[numbers]}"), console=console)
        self.bar = self.progress.add_task("", total=None, numbers="")

    def __enter__(self) -> "Bar":
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def begin(self, title: str, start: int, total: int) -> None:
        """Draw the bar."""
        self.progress.update(self.bar, description=title, completed=start, total=total)

    def stepped(self, step: int) -> None:
        """Move it."""
        self.progress.update(self.bar, completed=step)

    def evaluated(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write the newest numbers beside it."""
        metric = f"valid/{self.metric}"
        text = f"loss {numbers.get('loss', float('nan')):.3f}  {metric} {numbers.get(metric, float('nan')):.2f}"
        self.progress.update(self.bar, numbers=text)


class Board(Silence):
    """TensorBoard event files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None

    def begin(self, title: str, start: int, total: int) -> None:
        """Open the log; what a killed run wrote beyond `start` disappears from the curves."""
        from torch.utils.tensorboard import SummaryWriter  # Slow to import, and not wanted by a suite.

        self._writer = SummaryWriter(str(self.folder), purge_step=start)

    def evaluated(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write every number as a scalar."""
        assert self._writer is not None
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
