"""Examples as cards: the timeline, the candidates, and what was bought."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lowerfunnel.page.formats import count, finite
from lowerfunnel.pipeline.report.data import Example, ItemFields
from lowerfunnel.pipeline.report.palette import action_colour, action_name

SHOWN_EVENTS = 10
"""Latest events shown at once; the earlier ones unfold."""
SHOWN_CANDIDATES = 12
"""First candidates shown at once; a held-out one further down is shown too, the others unfold."""
SWATCHES = 8
"""Colours (CSS variables --s0 ...) for the categories of a card."""


@dataclass(frozen=True, slots=True)
class Label:
    """An item as a reader sees it."""

    key: str
    """Its id as text: what marks the same item everywhere on a card."""
    name: str
    details: str
    hint: str
    """Shown when pointed at."""
    swatch: int | None
    """Colour of its category within the card; None where the category occurs only once."""


@dataclass(frozen=True, slots=True)
class EventLine:
    """One event of a timeline."""

    label: Label
    action: str
    colour: str
    time: str


@dataclass(frozen=True, slots=True)
class CandidateLine:
    """One candidate."""

    label: Label
    rank: int
    score: str
    """Empty where it is not known."""
    length: float
    """Of the score's bar, in per cent."""
    touched: bool
    bought: bool
    gap: bool
    """Whether candidates are left out between the line above and this one."""


@dataclass(frozen=True, slots=True)
class TargetLine:
    """One held-out purchase."""

    label: Label
    verdict: str
    found: bool
    time: str


@dataclass(frozen=True, slots=True)
class Card:
    """One user."""

    user: str
    verdict: str
    found: bool
    earlier: tuple[EventLine, ...]
    events: tuple[EventLine, ...]
    left_out: str
    """How many events come before the first of the card; empty if none."""
    candidates: tuple[CandidateLine, ...]
    more: tuple[CandidateLine, ...]
    targets: tuple[TargetLine, ...]
    coloured_by: str


def cards(examples: Sequence[Example]) -> list[Card]:
    """Turn examples into cards."""
    return [_card(example) for example in examples]


def _group(item: ItemFields) -> tuple[str, str]:
    """Return what an item is coloured by, and its value: the category if there is one, or the advertiser, or itself."""
    if item.get("category"):
        return "category", str(item["category"])
    if item.get("advertiser"):
        return "advertiser", str(item["advertiser"])
    return "item", str(item["item_id"])


def _label(item: ItemFields, colours: Mapping[tuple[str, str], int]) -> Label:
    key, title = str(item["item_id"]), item.get("title")
    category, advertiser = item.get("category"), item.get("advertiser")
    details = []
    if category:
        details.append(f"category {category}" if category.isdecimal() else category)
    if advertiser:
        details.append(f"advertiser {advertiser}" if advertiser.isdecimal() else f"by {advertiser}")
    price = finite(item.get("price"))
    if price is not None:
        details.append(f"{price:,.2f} {item.get('currency') or ''}".strip())
    return Label(
        key,
        title or (key if key.startswith("(") else f"Item {key}"),
        " · ".join(details),
        f"item {key}",
        colours.get(_group(item)),
    )


def _card(example: Example) -> Card:
    everything: list[ItemFields] = [*example["timeline"], *example["candidates"], *example["held_out"]]
    sizes = Counter(_group(item) for item in everything)
    repeated = [group for group, size in sizes.most_common() if size > 1]
    colours = {group: place for place, group in enumerate(repeated[:SWATCHES])}
    kinds = [group[0] for group in colours]
    depth = example.get("depth", 1000)

    events = tuple(
        EventLine(
            _label(event, colours),
            action_name(event["action"]),
            action_colour(event["action"]),
            event.get("time") or "",
        )
        for event in example["timeline"]
    )
    left_out = example.get("events_before", len(events)) - len(events)
    targets = tuple(
        TargetLine(
            _label(target, colours),
            f"not in the top {count(depth)}" if target["rank"] is None else f"rank {count(target['rank'])}",
            target["rank"] is not None,
            target.get("time") or "",
        )
        for target in example["held_out"]
    )
    shown, more = _candidates(example, colours)
    ranks = [target["rank"] for target in example["held_out"] if target["rank"] is not None]
    if ranks:
        verdict = f"found at rank {count(min(ranks))}"
        if len(targets) > 1:
            verdict = f"{len(ranks)} of {len(targets)} found, best at rank {count(min(ranks))}"
    else:
        verdict = f"not found in the top {count(depth)}" if targets else ""
    return Card(
        user=str(example["user_id"]),
        verdict=verdict,
        found=bool(ranks),
        earlier=events[:-SHOWN_EVENTS],
        events=events[-SHOWN_EVENTS:],
        left_out=count(left_out) if left_out > 0 else "",
        candidates=shown,
        more=more,
        targets=targets,
        coloured_by=max(set(kinds), key=kinds.count) if kinds else "",
    )


def _candidates(
    example: Example, colours: Mapping[tuple[str, str], int]
) -> tuple[tuple[CandidateLine, ...], tuple[CandidateLine, ...]]:
    """Split the candidates into the lines shown at once and the rest."""
    candidates = sorted(example["candidates"], key=lambda candidate: candidate["rank"])
    scores = [candidate["score"] for candidate in candidates]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    shown: list[CandidateLine] = []
    more: list[CandidateLine] = []
    for place, candidate in enumerate(candidates):
        bought = candidate.get("held_out", False)
        line = CandidateLine(
            label=_label(candidate, colours),
            rank=candidate["rank"],
            score=f"{candidate['score']:.3f}",
            length=round(100 * (candidate["score"] - low) / (high - low), 1) if high > low else 100.0,
            touched=candidate.get("touched_before", False),
            bought=bought,
            gap=False,
        )
        (shown if place < SHOWN_CANDIDATES or bought else more).append(line)
    listed = {candidate["rank"] for candidate in candidates}
    shown += [
        CandidateLine(_label(target, colours), target["rank"], "", 0.0, touched=False, bought=True, gap=False)
        for target in example["held_out"]
        if target["rank"] is not None and target["rank"] not in listed
    ]
    shown.sort(key=lambda line: line.rank)
    above = [0, *(line.rank for line in shown)]
    return tuple(replace(line, gap=line.rank > rank + 1) for line, rank in zip(shown, above, strict=False)), tuple(more)
