from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.index.ranking import Int32Array, Int64Array
from lowerfunnel.serving.blending.blend import Blended, blend
from lowerfunnel.serving.blending.source_list import SourceList

PLACES = 40
NAMES = ["conversion", "engagement", "popular", "fresh"]


def source_list(places: list[int]) -> SourceList:
    return SourceList(
        place_N=np.array(places, np.int64),
        score_N=np.array([1000.0 - place for place in range(len(places))], np.float32),
    )


def advertiser_of(place_N: Int64Array) -> Int32Array:
    """Every sixth item has no advertiser; the others belong to 5."""
    return np.where(place_N % 6 == 0, -1, place_N % 5).astype(np.int32)


LISTS = st.dictionaries(
    st.sampled_from(NAMES), st.lists(st.integers(0, PLACES - 1), unique=True, max_size=30), max_size=len(NAMES)
)
QUOTAS = st.fixed_dictionaries(dict.fromkeys(NAMES, st.floats(0.01, 10) | st.just(1.0)))
CAPS = st.none() | st.integers(1, 5)


def answer(lists: dict[str, list[int]], quotas: dict[str, float], k: int, most: int | None = None) -> Blended:
    given_lists = {name: source_list(places) for name, places in lists.items()}
    return blend(given_lists, quotas, k, most_per_advertiser=most, advertiser_of=advertiser_of)


@given(LISTS, QUOTAS, st.integers(1, 80), CAPS)
def test_the_laws_of_an_answer(lists: dict[str, list[int]], quotas: dict[str, float], k: int, most: int | None) -> None:
    blended = answer(lists, quotas, k, most)
    places = blended.place_K.tolist()
    assert len(set(places)) == len(places) == len(blended.sources) == len(blended.score_K)
    # The cap holds, and the answer is as long as it can be under it.
    counts = Counter(code for code in advertiser_of(blended.place_K).tolist() if code >= 0)
    assert most is None or all(count <= most for count in counts.values())
    found = np.array(sorted(set().union(*lists.values())), np.int64)
    by_advertiser = Counter(advertiser_of(found).tolist())
    available = sum(count if most is None or code < 0 else min(count, most) for code, count in by_advertiser.items())
    assert len(blended) == min(k, available)
    # Sources: all that hold the item, the one whose order and score it has first.
    for place, score, sources in zip(places, blended.score_K.tolist(), blended.sources, strict=True):
        assert sorted(sources) == sorted(name for name in lists if place in lists[name])
        assert score == 1000.0 - lists[sources[0]].index(place)
        assert list(sources[1:]) == [name for name in quotas if name in sources[1:]]
    for name, held in lists.items():
        brought = [
            held.index(place) for place, sources in zip(places, blended.sources, strict=True) if sources[0] == name
        ]
        assert brought == sorted(brought)


@given(LISTS, QUOTAS, CAPS)
def test_a_longer_answer_begins_with_the_shorter_one(
    lists: dict[str, list[int]], quotas: dict[str, float], most: int | None
) -> None:
    longest = answer(lists, quotas, 200, most)
    for k in range(1, len(longest) + 1):
        shorter = answer(lists, quotas, k, most)
        assert shorter.place_K.tolist() == longest.place_K.tolist()[:k]
        assert shorter.sources == longest.sources[:k]


@given(QUOTAS, st.integers(1, 60), st.permutations(range(400)), st.permutations(range(400)))
def test_each_quota_is_met_to_within_one_where_every_source_has_enough(
    quotas: dict[str, float], k: int, one: list[int], other: list[int]
) -> None:
    lists = {"conversion": one, "engagement": other, "popular": one[::-1], "fresh": other[::-1]}
    blended = answer(lists, quotas, k)
    brought = Counter(sources[0] for sources in blended.sources)
    for name in NAMES:
        assert abs(brought[name] - k * quotas[name] / sum(quotas.values())) < 1 + 1e-6


@given(st.lists(st.integers(0, 100), unique=True, min_size=1, max_size=50), st.integers(1, 60), CAPS)
def test_one_source_is_answered_as_it_is(places: list[int], k: int, most: int | None) -> None:
    counts: Counter[int] = Counter()
    wanted = []
    for place in places:
        code = int(advertiser_of(np.array([place]))[0])
        counts[code] += 1
        if most is None or code < 0 or counts[code] <= most:
            wanted.append(place)
    blended = answer({"popular": places}, {"popular": 0.3, "fresh": 0.7}, k, most)
    assert blended.place_K.tolist() == wanted[:k]
    assert set(blended.sources) == {("popular",)}


def test_an_answer_by_hand() -> None:
    lists = {"conversion": [1, 2, 3, 4], "engagement": [2, 7, 1, 8], "fresh": [9]}
    quotas = {"conversion": 2.0, "engagement": 1.0, "fresh": 1.0}
    # Turns: conversion, engagement, conversion, fresh, and again; fresh runs out at its second turn, and conversion and
    # engagement begin anew, two to one.
    blended = answer(lists, quotas, 20)
    assert blended.place_K.tolist() == [1, 2, 3, 9, 4, 7, 8]
    assert blended.sources == (
        ("conversion", "engagement"),
        ("engagement", "conversion"),
        ("conversion",),
        ("fresh",),
        ("conversion",),
        ("engagement",),
        ("engagement",),
    )
    assert blended.score_K.tolist() == [1000.0, 1000.0, 998.0, 1000.0, 997.0, 999.0, 997.0]


def test_nothing_found_is_an_empty_answer() -> None:
    assert len(answer({}, {}, 5)) == 0
    assert len(answer({"fresh": []}, {"fresh": 1.0}, 5, 1)) == 0


@pytest.mark.parametrize(
    ("lists", "quotas", "k", "most", "sentence"),
    [
        ({"fresh": [1]}, {}, 1, None, "source 'fresh' has no quota"),
        ({"fresh": [1]}, {"fresh": 0.0}, 1, None, "the quota of 'fresh' must be positive, got 0.0"),
        ({"fresh": [1]}, {"fresh": float("nan")}, 1, None, "the quota of 'fresh' must be positive, got nan"),
        ({"fresh": [1]}, {"fresh": 1.0}, 0, None, "must be at least 1, got 0 and None"),
        ({"fresh": [1]}, {"fresh": 1.0}, 1, 0, "must be at least 1, got 1 and 0"),
        ({"fresh": [1, 2, 1]}, {"fresh": 1.0}, 1, None, "a list holds an item twice"),
        ({str(n): [1] for n in range(32)}, {str(n): 1.0 for n in range(32)}, 1, None, "at most 31 sources"),
    ],
)
def test_what_cannot_be_blended_is_refused(
    lists: dict[str, list[int]], quotas: dict[str, float], k: int, most: int | None, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        answer(lists, quotas, k, most)


def test_thirty_one_sources_are_told_apart() -> None:
    names = [f"s{number}" for number in range(31)]
    blended = answer({name: [0, number + 1] for number, name in enumerate(names)}, dict.fromkeys(names, 1.0), 100)
    assert blended.sources[0] == tuple(names)
    assert sorted(sources[0] for sources in blended.sources[1:]) == sorted(names)
