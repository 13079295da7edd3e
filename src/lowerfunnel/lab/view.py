"""What a person sees while the runs of a study are done: bars on a terminal, whole lines elsewhere."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import rich.console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from lowerfunnel.lab.machine import Share
from lowerfunnel.page.formats import duration
from lowerfunnel.pipeline.fingerprints import STEPS

_DOING = {
    "import": "importing",
    "label": "labelling",
    "train": "training",
    "index": "indexing",
    "evaluate": "evaluating",
    "report": "reporting",
}


class View:
    """Shows runs being done; implements `lowerfunnel.lab.conduct.Audience`."""

    def __init__(self, console: rich.console.Console, bars: Progress, *, done: int, total: int) -> None:
        self._console = console
        self._bars = bars
        self._done = done
        self._total = total
        self._begun_s: dict[str, float] = {}
        self._task: dict[str, TaskID] = {}
        self._warned: set[str] = set()
        self._all = bars.add_task("runs", total=total, completed=done)

    def say(self, text: str | Text) -> None:
        """Write one line."""
        self._console.print(text, highlight=False, soft_wrap=not self._console.is_terminal)

    def sharing(self, share: Share) -> None:
        """Say how many runs go side by side."""
        runs = f"{share.jobs} run{'s' if share.jobs != 1 else ''} side by side"
        threads = f"{share.threads} thread{'s' if share.threads != 1 else ''} each"
        self.say(Text(f"{runs}, {threads} ({share.reason})"))

    def begun(self, name: str) -> None:
        """Add a bar for a run."""
        self._begun_s[name] = time.monotonic()
        self._task[name] = self._bars.add_task(name, total=len(STEPS))

    def happened(self, name: str, event: Mapping[str, Any]) -> None:
        """Move the bar of a run; say a warning once, whichever run gives it."""
        task = self._task[name]
        if event["event"] == "step":
            self._bars.update(task, description=f"{name}: {_DOING[event['step']]}")
        elif event["event"] == "done_step":
            self._bars.update(task, completed=STEPS.index(event["step"]) + 1)
        elif event["event"] == "training":
            self._bars.update(task, completed=STEPS.index("train") + event["share"])
        elif event["event"] == "warning" and event["sentence"] not in self._warned:
            self._warned.add(event["sentence"])
            self.say(Text.assemble(("warning: ", "yellow"), event["sentence"]))

    def ended(self, name: str, error: str | None, *, said: str = "") -> None:
        """Say how a run ended, in a line of its own."""
        self._bars.remove_task(self._task.pop(name))
        self._done += 1
        self._bars.update(self._all, completed=self._done)
        took = duration(time.monotonic() - self._begun_s[name])
        sign, how = (
            (("✓", "green"), f" {took}{f', {said}' if said else ''}")
            if error is None
            else (("✗", "red"), f" failed after {took}: {error}")
        )
        self.say(
            Text.assemble(sign, f" {self._done}/{self._total} ", (name, "bold"), (how, "dim" if error is None else ""))
        )


@contextmanager
def view(console: rich.console.Console, *, done: int, total: int) -> Iterator[View]:
    """Show runs being done while the block lasts."""
    with Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=max(8, min(30, console.width - 60))),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        yield View(console, bars, done=done, total=total)
