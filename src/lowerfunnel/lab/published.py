"""Whether what others report was the same here."""

from lowerfunnel.lab.result import Comparison
from lowerfunnel.lab.study import Published


def held(published: Published, here: Comparison) -> str:
    """Say how a published relative change compares with the one found here.

    "held" where both go the same way, ours clearly, and theirs lies in our interval; else it says which of the two is
    larger. A published 0 holds where our interval holds it.
    """
    relative = here.relative
    if relative.value is None or relative.low is None or relative.high is None:
        return "no figure here"
    inside = relative.low <= published.relative <= relative.high
    if published.relative == 0:
        return "held" if inside else f"did not hold: {here.verdict} here"
    if here.verdict in ("undecided", "same"):
        return "undecided here" if here.verdict == "undecided" else "did not hold: the same here"
    if (here.verdict == "better") != (published.relative > 0):
        return "did not hold: the other way here"
    if inside:
        return "held"
    return (
        "same direction, smaller here"
        if abs(relative.value) < abs(published.relative)
        else "same direction, larger here"
    )
