"""Events, candidates and what was removed, as the templates show them: one page of each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lowerfunnel.events.schema import ACTIONS
from lowerfunnel.serving.console.drawing import Drawing, drawing_of
from lowerfunnel.serving.console.form import Form
from lowerfunnel.serving.console.idtext import text_of_id
from lowerfunnel.serving.console.wording import dwell, machine_moment, moment, price, score
from lowerfunnel.serving.service import Card, Inspection, ItemView, Removal, TimelineEntry

EVENTS_A_PAGE = 25
CARDS_A_PAGE = 48


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A stretch of a list: places from `first` up to `end`, of `total`."""

    name: str
    number: int
    first: int
    end: int
    total: int
    before: str | None
    """Address of the page before, None on the first one."""
    after: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """An item as it is shown."""

    name: str
    """The title, else the id."""
    id_text: str
    details: tuple[tuple[str, str], ...]
    """Word and value of what is known beside title and price."""
    price: str
    drawing: Drawing
    image_url: str | None
    beside: str
    """Address of the candidates that would stand beside this item."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EventView:
    """One event of the timeline."""

    place: int
    when: str
    machine_when: str | None
    action: str
    tone: str
    """The action if it has a colour of its own, else "other"."""
    thing: Thing
    known: bool
    """Whether the catalogue knows the item."""
    surface: str | None
    dwell: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Near:
    """An event that a candidate is near to."""

    place: int
    action: str
    name: str
    when: str
    cosine: str
    address: str
    """Where the event is shown: on this page or on another one of the timeline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CardView:
    """One candidate."""

    rank: int
    thing: Thing
    score: str
    bar: float | None
    """Per cent of the highest score of the same source."""
    sources: tuple[str, ...]
    near: tuple[Near, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RemovedView:
    """What one filter took out."""

    reason: str
    count: int
    examples: tuple[Thing, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """The time of one stage, as a piece of a bar of 100."""

    name: str
    ms: float
    x: float
    width: float
    number: int


def page_of(form: Form, name: str, *, total: int, size: int) -> Page:
    """Return the page of a list that the form asks for; behind the end, the last one."""
    last = max(1, math.ceil(total / size))
    number = min(form.pages[name], last)
    anchor = f"#{name}"
    return Page(
        name=name,
        number=number,
        first=(number - 1) * size,
        end=min(number * size, total),
        total=total,
        before=form.address(**{name: number - 1}) + anchor if number > 1 else None,
        after=form.address(**{name: number + 1}) + anchor if number < last else None,
    )


def events_of(form: Form, timeline: Sequence[TimelineEntry], page: Page, *, show_images: bool) -> tuple[EventView, ...]:
    """Return one page of the timeline, latest first."""
    return tuple(
        EventView(
            place=place,
            when=moment(entry.ts_us),
            machine_when=machine_moment(entry.ts_us),
            action=entry.action,
            tone=entry.action if entry.action in ACTIONS else "other",
            thing=thing_of(form, entry.item or ItemView(item_id=entry.item_id), show_images=show_images),
            known=entry.item is not None,
            surface=entry.surface,
            dwell=dwell(entry.dwell_s),
        )
        for place, entry in enumerate(timeline[page.first : page.end], start=page.first)
    )


def cards_of(form: Form, inspection: Inspection, page: Page, *, show_images: bool) -> tuple[CardView, ...]:
    """Return one page of the candidates, the first one first."""
    highest: dict[str, tuple[float, float]] = {}
    for card in inspection.cards:
        value, source = card.candidate.score, _source(card)
        if math.isfinite(value):
            low, high = highest.get(source, (value, value))
            highest[source] = (min(low, value), max(high, value))
    return tuple(
        CardView(
            rank=place + 1,
            thing=thing_of(form, card.item, show_images=show_images),
            score=score(card.candidate.score),
            bar=_bar(card.candidate.score, highest.get(_source(card))),
            sources=card.candidate.sources,
            near=tuple(
                _near(form, inspection.timeline[event], event, cosine)
                for event, cosine in card.nearest
                if 0 <= event < len(inspection.timeline)
            ),
        )
        for place, card in enumerate(inspection.cards[page.first : page.end], start=page.first)
    )


def removed_of(form: Form, removed: Sequence[Removal], *, show_images: bool) -> tuple[RemovedView, ...]:
    """Return what filters took out, the most first."""
    return tuple(
        RemovedView(
            reason=one.reason,
            count=one.count,
            examples=tuple(thing_of(form, item, show_images=show_images) for item in one.examples[:6]),
        )
        for one in sorted(removed, key=lambda one: -one.count)
    )


def stages_of(stage_ms: dict[str, float]) -> tuple[Stage, ...]:
    """Return the stages as pieces of a bar; what the total holds beyond them is called "rest"."""
    named = {name: ms for name, ms in stage_ms.items() if name != "total" and math.isfinite(ms) and ms >= 0}
    known = sum(named.values())
    total = max(stage_ms.get("total", known), known)
    if not named or not math.isfinite(total) or total <= 0:
        return ()
    if total - known > 0.005 * total:
        named["rest"] = total - known
    stages, x = [], 0.0
    for number, (name, ms) in enumerate(named.items()):
        stages.append(Stage(name=name, ms=ms, x=round(x, 3), width=round(ms / total * 100, 3), number=number % 8))
        x += ms / total * 100
    return tuple(stages)


def thing_of(form: Form, item: ItemView, *, show_images: bool) -> Thing:
    """Return an item as it is shown; its picture only if pictures are shown and it comes over https."""
    id_text = text_of_id(item.item_id)
    details = (("Advertiser", item.advertiser_id), ("Category", item.category_id))
    picture = item.image_url if item.image_url is not None and item.image_url.startswith("https://") else None
    return Thing(
        name=(item.title or "").strip() or f"Item {id_text}",
        id_text=id_text,
        details=(("Item", id_text), *((word, value) for word, value in details if value and value.strip())),
        price=price(item.price, item.currency),
        drawing=drawing_of(item),
        image_url=picture if show_images else None,
        beside=form.address(subject=id_text),
    )


def _near(form: Form, entry: TimelineEntry, place: int, cosine: float) -> Near:
    title = (entry.item.title or "").strip() if entry.item is not None else ""
    return Near(
        place=place,
        action=entry.action,
        name=title or f"Item {text_of_id(entry.item_id)}",
        when=moment(entry.ts_us),
        cosine=score(cosine),
        address=form.address(events=place // EVENTS_A_PAGE + 1, cards=form.pages["cards"]) + f"#event-{place}",
    )


def _source(card: Card) -> str:
    return card.candidate.sources[0] if card.candidate.sources else ""


def _bar(value: float, span: tuple[float, float] | None) -> float | None:
    if span is None or not math.isfinite(value):
        return None
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    return round((value - low) / (high - low) * 100, 2) if high > low else 0.0
