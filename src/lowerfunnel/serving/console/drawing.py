"""A drawn placeholder for an item without a picture: two colours of its category and a figure of its own.

The same item always looks the same, on every machine: both come from a hash of its ids.
"""

import hashlib
from dataclasses import dataclass

from lowerfunnel.serving.service import ItemView

_CENTRES = ((30, 26), (66, 24), (48, 40), (24, 50), (74, 50))
_KINDS = ("discs", "rings", "bars", "tiles", "drops")


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a template needs to draw an item in a box of 100 by 72."""

    hue: int
    """Degrees; one category, one hue."""
    second_hue: int
    kind: str
    """One of five ways to fill the box."""
    marks: tuple[tuple[float, float, float, float], ...]
    """x, y, size and turn in degrees of each figure."""
    initials: str


def drawing_of(item: ItemView) -> Drawing:
    """Return the drawing of an item."""
    of_category = _digest("category", item.category_id if item.category_id is not None else f"item {item.item_id!r}")
    of_item = _digest("item", repr(item.item_id))
    hue = int.from_bytes(of_category[:2], "big") % 360
    second_hue = (hue + 24 + of_category[2] % 48) % 360
    marks = tuple(
        (
            x + of_item[place * 4] % 13 - 6,
            y + of_item[place * 4 + 1] % 11 - 5,
            7 + of_item[place * 4 + 2] % 15,
            of_item[place * 4 + 3] / 256 * 360,
        )
        for place, (x, y) in enumerate(_CENTRES)
    )
    return Drawing(hue, second_hue, _KINDS[of_item[31] % len(_KINDS)], marks, initials_of(item))


def initials_of(item: ItemView) -> str:
    """Return up to two letters or figures that stand for an item: of its title, or of its id."""
    words = (item.title or "").split() or [str(item.item_id)]
    letters = [next((c for c in word if c.isalnum()), "") for word in words]
    return "".join(letter for letter in letters if letter)[:2].upper()


def _digest(kind: str, text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32, person=kind.encode()).digest()
