"""What is known of requests: words of searches, and arrays of requests against lists of tuples."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowerfunnel.features.requests import Requests, encode_words, word_vocabulary, words_of
from lowerfunnel.features.vocabulary import Vocabulary

Row = tuple[int, int, list[int]]
rows = st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 3), st.lists(st.integers(0, 3), max_size=3)), max_size=12)
TEXTS = st.text(alphabet="aB 1-é,ß", max_size=8)


def requests_of(given_rows: list[Row]) -> Requests:
    lengths = [len(words) for _, _, words in given_rows]
    return Requests(
        surface_R=np.array([row[0] for row in given_rows], np.int32),
        subject_R=np.array([row[1] for row in given_rows], np.int32),
        word_offsets_R1=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]),
        word_T=np.array([word for row in given_rows for word in row[2]], np.int32),
    )


def rows_of(requests: Requests) -> list[Row]:
    words = [requests.word_T[start:stop].tolist() for start, stop in pairwise(requests.word_offsets_R1.tolist())]
    return list(zip(requests.surface_R.tolist(), requests.subject_R.tolist(), words, strict=True))


@given(TEXTS, TEXTS)
def test_words_are_lower_case_and_distinct_and_stand_where_they_stood_first(text: str, more: str) -> None:
    words = words_of(text)
    assert len(words) == len(set(words))
    assert all(word and word == word.casefold() and " " not in word for word in words)
    # More text behind it only adds words.
    assert words_of(f"{text} {more}")[: len(words)] == words
    assert words_of(text.upper()) == words_of(text.lower())


def test_words_by_hand() -> None:
    assert words_of("Red shoes, red! RED-hot 4.5") == ["red", "shoes", "hot", "4", "5"]
    assert words_of("Größe GRÖSSE 用户") == ["grösse", "用户"]
    assert words_of("") == words_of(" ,;- ") == []


def test_the_vocabulary_holds_each_word_of_the_queries_once() -> None:
    assert word_vocabulary(pa.array(["red shoes", None, "Shoes, blue", ""])).ids.to_pylist() == ["blue", "red", "shoes"]
    assert len(word_vocabulary(pa.array([None, ""], pa.string()))) == 0
    assert len(word_vocabulary(pa.array([], pa.string()))) == 0


@given(st.lists(st.none() | TEXTS, max_size=12), st.integers(1, 4), st.booleans())
def test_words_are_encoded_as_one_query_after_another_would_be(
    queries: list[str | None], chunks: int, known: bool
) -> None:
    vocabulary = word_vocabulary(pa.array(queries[:: 1 if known else 2], pa.string()))
    code = {word: place for place, word in enumerate(vocabulary.ids.to_pylist())}
    expected = [[code[word] for word in words_of(query or "") if word in code] for query in queries]
    parts = [pa.array(queries[start::chunks], pa.string()) for start in range(chunks)]
    in_chunks = pa.chunked_array(parts, pa.string())
    in_order = [expected[place] for start in range(chunks) for place in range(start, len(queries), chunks)]
    for column, wanted in ((pa.array(queries, pa.string()), expected), (in_chunks, in_order)):
        offsets_R1, word_T = encode_words(column, vocabulary)
        found = [word_T[start:stop].tolist() for start, stop in pairwise(offsets_R1.tolist())]
        assert found == wanted


@pytest.mark.parametrize("column", [pa.chunked_array([], pa.string()), pa.array([], pa.string())])
def test_no_query_has_no_words(column: pa.Array | pa.ChunkedArray) -> None:
    offsets_R1, word_T = encode_words(column, Vocabulary(pa.array(["red"])))
    assert (offsets_R1.tolist(), word_T.tolist()) == ([0], [])


def test_null_and_unknown_words_by_hand() -> None:
    vocabulary = Vocabulary(pa.array(["red", "shoes"]))
    offsets_R1, word_T = encode_words(pa.array(["shoes red shoes", None, "green", "green red", None]), vocabulary)
    assert offsets_R1.tolist() == [0, 2, 2, 2, 3, 3]
    assert word_T.tolist() == [1, 0, 0]


@given(rows, st.data())
def test_taking_requests_takes_all_that_is_known_of_them(given_rows: list[Row], data: st.DataObject) -> None:
    index = data.draw(st.lists(st.integers(0, max(len(given_rows) - 1, 0)), max_size=8 * bool(given_rows)))
    taken = requests_of(given_rows).take(np.array(index, np.int64))
    assert rows_of(taken) == [given_rows[place] for place in index]


@given(rows, st.data())
def test_of_a_hidden_request_nothing_is_known_and_the_others_stay(given_rows: list[Row], data: st.DataObject) -> None:
    hidden = data.draw(st.lists(st.booleans(), min_size=len(given_rows), max_size=len(given_rows)))
    nothing = rows_of(Requests.unknown(1))[0]
    found = requests_of(given_rows).hidden(np.array(hidden, np.bool_))
    assert rows_of(found) == [nothing if hide else row for row, hide in zip(given_rows, hidden, strict=True)]
    assert (found.surface_R.dtype, found.subject_R.dtype) == (np.int32, np.int32)


def test_nothing_is_known_of_unknown_requests() -> None:
    assert rows_of(Requests.unknown(2)) == [(0, -1, [])] * 2
    assert len(Requests.unknown(0)) == 0


@given(rows)
def test_queries_have_one_number_exactly_if_their_words_agree_in_order(given_rows: list[Row]) -> None:
    number = requests_of(given_rows).query_of_request().tolist()
    for one, left in zip(number, given_rows, strict=True):
        assert (one == 0) == (not left[2])
        for other, right in zip(number, given_rows, strict=True):
            assert (one == other) == (left[2] == right[2])
