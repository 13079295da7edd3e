"""What a person typed, as a request: the whole state of the page stands in its address."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from lowerfunnel.serving.console.idtext import id_of_text, words_of_text
from lowerfunnel.serving.requests import CandidateRequest, Choice, Filters

MOST_CHARACTERS = {"user": 512, "subject": 512, "query": 1000}
"""Of one field; of those that are not named, `MOST_CHARACTERS_OF_A_LIST`."""
MOST_CHARACTERS_OF_A_LIST = 2000
FIRST_K = 20
"""Candidates that are asked for where nobody says how many."""

ASKED = ("user", "surface", "subject", "query", "k")
"""The fields that say what is asked."""
FILTERED = (
    "country",
    "least_price",
    "most_price",
    "advertisers",
    "without_advertisers",
    "categories",
    "without_categories",
    "all_of",
    "any_of",
    "none_of",
    "per_advertiser",
    "purchased",
)
"""The fields that say which items may come back."""
PLACES = ("events", "cards")
"""Which page of the timeline and of the candidates is shown, from 1."""

# The field beside which a sentence of the engine stands, by the first of these words in it.
_NAMED = {"user": "user", "surface": "surface", "subject": "subject", "query": "query", "country": "country"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What was typed, and what is wrong with it."""

    typed: dict[str, str]
    """What stands in each field; "" for nothing."""
    request: CandidateRequest | None
    """None if something is wrong."""
    wrong: dict[str, str] = field(default_factory=dict)
    """A sentence for each field that cannot be used."""
    pages: dict[str, int] = field(default_factory=dict)
    """By the names of `PLACES`."""

    @property
    def filtered(self) -> bool:
        """Whether any filter was typed."""
        return any(self.typed[name] for name in FILTERED)

    def address(self, **changed: str | int) -> str:
        """Return the address of this page with some fields changed: shareable, without what is empty."""
        values = {**self.typed, **{name: str(value) for name, value in changed.items()}}
        if changed.keys() - set(PLACES):
            values = {**values, "events": "", "cards": ""}
        kept = {name: value for name, value in values.items() if value and not (name in PLACES and value == "1")}
        return "/?" + urlencode(kept or {"user": ""}, errors="replace")

    def with_sentence(self, sentence: str) -> "Form":
        """Return the form with a sentence of the engine beside the field that it names, if it names one that is set."""
        words = re.findall(r"[a-z]+", sentence.lower())
        named = next((_NAMED[word] for word in words if word in _NAMED and self.typed[_NAMED[word]]), "")
        return Form(typed=self.typed, request=None, wrong={**self.wrong, named: sentence}, pages=self.pages)


def read_form(values: Mapping[str, str], *, request_id: str, most_k: int, deadline_ms: float) -> Form:
    """Turn the fields of an address into a request, or into sentences that say what is wrong.

    Args:
        values: The fields by name; those that the page does not know are left alone.
        request_id: Of the request.
        most_k: Candidates that may be asked for, at most.
        deadline_ms: Of the request.
    """
    typed = {name: values.get(name, "").strip() for name in (*ASKED, *FILTERED, *PLACES)}
    wrong: dict[str, str] = {}
    for name, text in typed.items():
        most = MOST_CHARACTERS.get(name, MOST_CHARACTERS_OF_A_LIST)
        if len(text) > most:
            wrong[name] = f"{len(text):,} characters came, and this field takes at most {most:,}."
    reader = _Reader(typed, wrong)
    pages = {name: reader.whole(name, least=1, most=10**9) or 1 for name in PLACES}
    # A page number out of a stale link is no reason to refuse the rest.
    for name in PLACES:
        wrong.pop(name, None)
    least_price, most_price = reader.price("least_price"), reader.price("most_price")
    if least_price is not None and most_price is not None and least_price > most_price:
        wrong["most_price"] = f"The highest price, {most_price:g}, lies below the lowest, {least_price:g}."
        least_price = most_price = None
    any_of = reader.words("any_of")
    filters = Filters(
        country=reader.country("country"),
        advertisers=Choice(allow=reader.words("advertisers") or None, deny=reader.words("without_advertisers")),
        categories=Choice(allow=reader.words("categories") or None, deny=reader.words("without_categories")),
        attributes_all=reader.words("all_of"),
        attributes_any=any_of or None,
        attributes_none=reader.words("none_of"),
        least_price=least_price,
        most_price=most_price,
        exclude_purchased=typed["purchased"] != "keep",
        most_per_advertiser=reader.whole("per_advertiser", least=1, most=most_k),
    )
    k = reader.whole("k", least=1, most=most_k)
    request = CandidateRequest(
        request_id=request_id,
        k=FIRST_K if k is None else k,
        user_id=id_of_text(typed["user"]),
        surface=typed["surface"] or None,
        subject_item_id=id_of_text(typed["subject"]),
        query=typed["query"] or None,
        filters=filters,
        deadline_ms=deadline_ms,
    )
    return Form(typed=typed, request=None if wrong else request, wrong=wrong, pages=pages)


class _Reader:
    """Reads one field after the other and notes what is wrong."""

    def __init__(self, typed: Mapping[str, str], wrong: dict[str, str]) -> None:
        self._typed = typed
        self._wrong = wrong

    def whole(self, name: str, *, least: int, most: int) -> int | None:
        text = self._typed[name]
        if not text:
            return None
        number = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
        if number is None or not least <= number <= most:
            self._wrong.setdefault(
                name, f"“{_short(text)}” came, and a whole number from {least:,} to {most:,} is needed."
            )
            return None
        return number

    def price(self, name: str) -> float | None:
        text = self._typed[name]
        if not text:
            return None
        number = float(text) if re.fullmatch(r"[0-9]*\.?[0-9]+(e[0-9]{1,3})?|[0-9]+\.", text) else math.nan
        if not math.isfinite(number):
            self._wrong.setdefault(
                name, f"“{_short(text)}” is no price: a number of 0 or more is needed, such as 19.90."
            )
            return None
        return number

    def country(self, name: str) -> str | None:
        text = self._typed[name]
        if text and not re.fullmatch("[A-Za-z]{2}", text):
            self._wrong.setdefault(name, f"“{_short(text)}” is no country: two letters are needed, such as DE.")
            return None
        return text.upper() or None

    def words(self, name: str) -> frozenset[str]:
        try:
            return words_of_text(self._typed[name])
        except ValueError as error:
            self._wrong.setdefault(name, f"This list cannot be read: {error}.")
            return frozenset()


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:39] + "…"
