"""`describe`: measure a world's folder, compare it with real logs, write a page."""

from dataclasses import asdict, dataclass
from pathlib import Path

from lowerfunnel.files import write_json, write_text
from lowerfunnel.world.describe.comparison import UNMATCHED, Comparison, compare
from lowerfunnel.world.describe.measure import Measured, measure_world
from lowerfunnel.world.describe.render import render_description
from lowerfunnel.world.make import load_world


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """A world's log in figures, beside real ones."""

    measured: Measured
    comparisons: list[Comparison]

    def write(self, out: Path, *, title: str) -> None:
        """Write `describe.json` and `describe.html` into the folder `out`, which is made if it is not there."""
        out.mkdir(parents=True, exist_ok=True)
        write_json(
            out / "describe.json",
            {
                "data": "synthetic",
                "comparisons": [asdict(row) for row in self.comparisons],
                "figures": self.measured.groups,
                "truth": self.measured.truth,
                "actions": self.measured.actions,
                "unmatched": [{"what": what, "why": why} for what, why in UNMATCHED],
            },
        )
        write_text(out / "describe.html", render_description(self.measured, self.comparisons, title=title))


def describe(folder: Path) -> Description:
    """Measure the world in a folder and compare it with real logs.

    Raises:
        RunError: If the folder holds no world, or a damaged one.
    """
    load_world(folder)  # so that another version's world is refused in its own words
    measured = measure_world(folder)
    return Description(measured=measured, comparisons=compare(measured))
