"""What a person sees while a run is at work: one line per step, a progress bar where one is worth it.

On a terminal bars show rate and time left; elsewhere (a log, a pipe) only whole lines are written.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import rich.console
import rich.padding
import rich.status
import rich.text
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lowerfunnel.training import loop

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
        self._spinner: rich.status.Status | None = None

    @contextmanager
    def step(self, step: str) -> Iterator[None]:
        """Show that a step is at work, then that it is done; nothing more if it fails."""
        started_s = time.monotonic()
        with self.waiting(_TITLES[step]):
            yield
        self._done(step, f"{time.monotonic() - started_s:.1f} s")

    def skipped(self, step: str) -> None:
        """Say that a step was finished before."""
        self._done(step, "unchanged, skipped")

    def _done(self, step: str, how: str) -> None:
        self.rich.print(f"[green]✓[/green] [bold]{_TITLES[step]}[/bold] [dim]{how}[/dim]", highlight=False)

    def note(self, sentence: str) -> None:
        """Say what a step found."""
        self._say(rich.text.Text(sentence))

    def warn(self, sentence: str) -> None:
        """Say what somebody should know."""
        self._say(rich.text.Text.assemble(("warning: ", "yellow"), sentence))

    def _say(self, text: rich.text.Text) -> None:
        # Wrapped under its indentation on a terminal, one line each elsewhere; brackets in a sentence are no markup.
        if self.rich.is_terminal:
            self.rich.print(rich.padding.Padding(text, (0, 0, 0, 2)))
        else:
            self.rich.print(rich.text.Text("  ") + text, soft_wrap=True)

    @contextmanager
    def waiting(self, sentence: str) -> Iterator[None]:
        """Show on a terminal that something may take a moment."""
        if not self.rich.is_terminal:
            yield
            return
        self._spinner = self.rich.status(f"{sentence} ...")
        try:
            with self._spinner:
                yield
        finally:
            self._spinner = None

    def recommending(self) -> AbstractContextManager[Callable[[int, int], None]]:
        """Show for how many users candidates have been found."""
        return self.counting("users", "recommending")

    @contextmanager
    def counting(self, unit: str, doing: str) -> Iterator[Callable[[int, int], None]]:
        """Show how many of something are done."""
        with self._bar(unit) as bar:
            row: list[TaskID] = []

            def advance(done: int, of: int) -> None:
                row.extend([] if row else [bar.add_task(doing, total=of, rate="")])
                bar.update(row[0], completed=done)

            yield advance

    @contextmanager
    def training(self) -> Iterator[loop.Progress]:
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
        spinner = self._spinner
        if spinner is not None:
            spinner.stop()
        with Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=max(8, min(30, self.rich.width - 68))),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            console=self.rich,
            transient=True,
            disable=not self.rich.is_terminal,
        ) as bar:
            yield bar
        if spinner is not None:
            spinner.start()


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
        self._console.note(
            f"epoch {row['epoch']:.0f}: loss {row['loss']:.3f}  {metrics}  {row['examples_per_s']:,.0f} examples/s"
        )
