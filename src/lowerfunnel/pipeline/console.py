"""What a person sees while a run is at work: one line per step, a progress bar where one is worth it.

On a terminal bars show rate and time left; elsewhere (a log, a pipe) only whole lines are written.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import rich.console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_TITLES = {
    "import": "Import the log",
    "label": "Label and split",
    "train": "Train",
    "index": "Build the index",
    "evaluate": "Evaluate",
    "report": "Write the report",
}


class Console:
    """Writes the course of a run to a rich console."""

    def __init__(self, console: rich.console.Console) -> None:
        self.rich = console
        self._started_s = 0.0

    def begin(self, step: str) -> None:
        """Announce a step."""
        self._started_s = time.monotonic()
        if self.rich.is_terminal:
            self.rich.print(f"[bold]{_TITLES[step]}[/bold] ...", highlight=False)

    def end(self, step: str, *, skipped: bool) -> None:
        """Say that a step is done."""
        took = "unchanged, skipped" if skipped else f"{time.monotonic() - self._started_s:.1f} s"
        self.rich.print(f"[green]✓[/green] [bold]{_TITLES[step]}[/bold] [dim]{took}[/dim]", highlight=False)

    def note(self, sentence: str) -> None:
        """Say what a step found."""
        self.rich.print(f"  {sentence}", highlight=False, markup=False)

    def warn(self, sentence: str) -> None:
        """Say what somebody should know."""
        self.rich.print("  [yellow]warning:[/yellow]", sentence, highlight=False, markup=True)

    @contextmanager
    def training(self) -> Iterator["TrainingBar"]:
        """Show the training loop's progress."""
        with self._bar("{task.fields[rate]}") as bar:
            yield TrainingBar(bar, self)

    @contextmanager
    def evaluating(self, task: str, total: int) -> Iterator[Callable[[str, int, int], None]]:
        """Show how many lists have been made."""
        with self._bar("lists") as bar:
            row = bar.add_task(task, total=total, rate="")
            done: dict[str, int] = {}

            def advance(model: str, queries: int, of: int) -> None:
                done[model] = queries
                bar.update(row, completed=sum(done.values()), description=f"{task}: {model}")

            yield advance

    @contextmanager
    def _bar(self, unit: str) -> Iterator[Progress]:
        with Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            console=self.rich,
            transient=True,
            disable=not self.rich.is_terminal,
        ) as bar:
            yield bar


class TrainingBar:
    """Shows training; implements `lowerfunnel.training.loop.Progress`."""

    def __init__(self, bar: Progress, console: Console) -> None:
        self._bar = bar
        self._console = console
        self._task: TaskID | None = None

    def advance(self, *, step: int, steps: int, epoch: int, loss: float, examples_per_s: float) -> None:
        """Move the bar."""
        if self._task is None:
            self._task = self._bar.add_task("training", total=steps, rate="")
        self._bar.update(
            self._task,
            completed=step,
            description=f"epoch {epoch + 1}, loss {loss:.3f}",
            rate=f"{examples_per_s:,.0f} examples/s",
        )

    def validated(self, row: Mapping[str, float]) -> None:
        """Write one line for each validation."""
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in row.items() if "@" in name)
        self._console.note(f"epoch {row['epoch']:.0f}: loss {row['loss']:.3f}  {metrics}  {row['examples_per_s']:,.0f} examples/s")
