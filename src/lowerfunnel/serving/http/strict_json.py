"""JSON from strangers: what two readers could read in two ways is refused, and the place is named.

What is let through, `json.loads` reads as the same value. Refused, beyond what is no JSON at all: NaN and infinities, a
number that no double can hold, an integer beyond 64 bits, a key that comes twice, half of a surrogate pair, and nesting
that is deeper than anything a request needs.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import NoReturn

from lowerfunnel.serving.http.refusals import RefusalError, place_name

MOST_DEPTH = 32
"""Lists and objects inside each other."""
LEAST_INT = -(2**63)
MOST_INT = 2**63 - 1
_MOST_NUMBER_CHARACTERS = 400
_HALF_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(code for code in range(256) if code not in b"[]{}")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Fault:
    """Stands in a parsed value where something must be refused, until its place is looked for."""

    reason: str


def parse_json(data: bytes | str, *, what: str = "The body") -> object:
    """Return what JSON text says.

    Args:
        data: UTF-8 without a byte order mark, or text.
        what: How the text is called at the beginning of a refusal.

    Raises:
        RefusalError: 400 with one sentence that names the place.
    """
    text = data if isinstance(data, str) else _decoded(data, what)
    faults: list[_Fault] = []

    def fault(reason: str) -> _Fault:
        faults.append(_Fault(reason))
        return faults[-1]

    def integer(digits: str) -> int | _Fault:
        if len(digits) <= 20:
            value = int(digits)
            if LEAST_INT <= value <= MOST_INT:
                return value
        return fault(f"the integer {_short(digits)} is beyond 64 bits")

    def number(digits: str) -> float | _Fault:
        if len(digits) <= _MOST_NUMBER_CHARACTERS:
            value = float(digits)
            if math.isfinite(value):
                return value
        return fault(f"the number {_short(digits)} is beyond what a double holds")

    def constant(name: str) -> _Fault:
        return fault(f"{name} is no number of JSON")

    def pairs(members: list[tuple[str, object]]) -> object:
        value = dict(members)
        if len(value) != len(members):
            seen: set[str] = set()
            for key, _ in members:
                if key in seen:
                    value[key] = fault("the key comes twice")
                seen.add(key)
        return value

    try:
        value: object = json.loads(
            text, parse_int=integer, parse_float=number, parse_constant=constant, object_pairs_hook=pairs
        )
    except json.JSONDecodeError as error:
        raise _refusal(
            f"{what} is not JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise _refusal(f"{what} is nested deeper than {MOST_DEPTH} levels") from error
    if faults or _HALF_ESCAPE.search(text) or _is_deep(text):
        _refuse_first(value, what)
    return value


def _decoded(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refusal(f"{what} is not UTF-8: {error.reason} at byte {error.start}") from error


def _is_deep(text: str) -> bool:
    """Whether text that is JSON is nested too deep. Each round takes the innermost level away, at the speed of C."""
    if text.count("[") + text.count("{") <= MOST_DEPTH:
        return False
    brackets = _STRING.sub(b"", text.encode("utf-8", "surrogatepass")).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(MOST_DEPTH):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


def _refuse_first(value: object, what: str) -> None:
    """Refuse the first fault in the order of the text; return where there is none.

    Raises:
        RefusalError: If there is one.
    """
    waiting: list[tuple[object, tuple[object, int | str] | None, int]] = [(value, None, 1)]
    while waiting:
        one, link, depth = waiting.pop()
        if isinstance(one, _Fault):
            _refuse_at(one.reason, link, what)
        if isinstance(one, str) and not _is_whole(one):
            _refuse_at("the string holds half of a surrogate pair", link, what)
        if isinstance(one, dict | list) and depth > MOST_DEPTH:
            _refuse_at(f"nested deeper than {MOST_DEPTH} levels", link, what)
        if isinstance(one, dict):
            for key in one:
                if not _is_whole(key):
                    _refuse_at("a key holds half of a surrogate pair", link, what)
            waiting += reversed([(child, (link, key), depth + 1) for key, child in one.items()])
        elif isinstance(one, list):
            waiting += reversed([(child, (link, place), depth + 1) for place, child in enumerate(one)])


def _is_whole(text: str) -> bool:
    """Whether a string can be written as UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _refuse_at(reason: str, link: object, what: str) -> NoReturn:
    steps: list[int | str] = []
    while isinstance(link, tuple):
        link, step = link
        steps.append(step)
    raise _refusal(f"{what} cannot be read in one way only: {reason}, at {place_name(steps[::-1])}")


def _refusal(message: str) -> RefusalError:
    return RefusalError(400, "bad_json", f"{message}.")


def _short(digits: str) -> str:
    return digits if len(digits) <= 24 else f"{digits[:20]}... ({len(digits)} characters)"
