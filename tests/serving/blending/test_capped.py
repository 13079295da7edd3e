import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.index.exact import ExactIndex
from lowerfunnel.index.ranking import Int32Array
from lowerfunnel.serving.blending.capped import search_capped, within_cap
from lowerfunnel.serving.blending.source_list import SourceList


@given(st.lists(st.integers(-1, 4), max_size=40), st.integers(1, 5))
def test_each_advertiser_keeps_its_first_items(codes: list[int], most: int) -> None:
    stays = within_cap(np.array(codes, np.int32), most)
    wanted = [code < 0 or codes[:row].count(code) < most for row, code in enumerate(codes)]
    assert stays.tolist() == wanted


@given(st.lists(st.integers(-1, 4), max_size=60), st.integers(1, 20), st.integers(1, 25))
def test_a_capped_search_finds_what_capping_everything_finds(codes: list[int], k: int, most: int) -> None:
    code_I = np.array(codes, np.int32)
    asked = []

    def search(count: int) -> SourceList:
        asked.append(count)
        place_N = np.arange(min(count, len(codes)))
        return SourceList(place_N=place_N, score_N=-place_N.astype(np.float32))

    found = search_capped(search, k, most, lambda place_N: code_I[place_N])
    wanted = np.flatnonzero(within_cap(code_I, most))[:k]
    assert found.place_N.tolist() == wanted.tolist()
    assert found.score_N.tolist() == (-wanted).tolist()
    assert asked == [asked[0] * 2**step for step in range(len(asked))]
    assert all(count <= max(2 * len(codes), 2 * k) for count in asked)


def test_an_index_is_asked_for_more_until_enough_advertisers_were_met() -> None:
    vector_ID = np.linspace(1, 0, 1_000, dtype=np.float32)[:, None]
    index = ExactIndex(vector_ID, threads=1)
    advertiser_I: Int32Array = (np.arange(1_000) // 100).astype(np.int32)
    asked = []

    def search(count: int) -> SourceList:
        asked.append(count)
        return SourceList.of_ranking(index.search(np.ones((1, 1), np.float32), count))

    found = search_capped(search, 10, 3, lambda place_N: advertiser_I[place_N])
    assert found.place_N.tolist() == [0, 1, 2, 100, 101, 102, 200, 201, 202, 300]
    assert asked == [20, 40, 80, 160, 320]
    asked.clear()
    assert len(search_capped(search, 50, 3, lambda place_N: advertiser_I[place_N])) == 30
    assert asked[-1] >= 1_000


@pytest.mark.parametrize(("k", "most"), [(0, 1), (1, 0)])
def test_less_than_one_is_refused(k: int, most: int) -> None:
    with pytest.raises(ValueError, match=f"must be at least 1, got {k} and {most}"):
        search_capped(lambda count: pytest.fail("searched"), k, most, lambda place_N: place_N.astype(np.int32))
