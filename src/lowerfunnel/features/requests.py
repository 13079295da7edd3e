"""What is known of requests beside who asks: where, beside which item, with which words.

Shape letters: R requests, W words (ragged over R), Q distinct queries.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lowerfunnel.events.timeline import Int32Array, Int64Array, ragged_index
from lowerfunnel.features.vocabulary import Vocabulary

_WORD = re.compile(r"\w+", re.UNICODE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Requests:
    """R requests.

    Attributes:
        surface_R: Code of the surface, 0 unknown.
        subject_R: Dense item that the request stands beside, -1 for none.
        word_offsets_R1: Words of request r are ``word_offsets_R1[r]:word_offsets_R1[r + 1]``.
        word_T: Codes of the words of the search.
    """

    surface_R: Int32Array
    subject_R: Int32Array
    word_offsets_R1: Int64Array
    word_T: Int32Array

    def __len__(self) -> int:
        return len(self.surface_R)

    @classmethod
    def unknown(cls, count: int) -> "Requests":
        """Return requests of which nothing is known: candidates are asked for ahead of them."""
        return cls(
            surface_R=np.zeros(count, np.int32),
            subject_R=np.full(count, -1, np.int32),
            word_offsets_R1=np.zeros(count + 1, np.int64),
            word_T=np.zeros(0, np.int32),
        )

    def take(self, index_N: Int64Array) -> "Requests":
        """Return some requests, in the order given."""
        position_T, offsets_N1 = ragged_index(self.word_offsets_R1[index_N], self.word_offsets_R1[index_N + 1])
        return Requests(
            surface_R=self.surface_R[index_N],
            subject_R=self.subject_R[index_N],
            word_offsets_R1=offsets_N1,
            word_T=self.word_T[position_T],
        )

    def hidden(self, hidden_R: npt.NDArray[np.bool_]) -> "Requests":
        """Return the same requests, nothing known of those `hidden_R`."""
        length_R = np.where(hidden_R, 0, np.diff(self.word_offsets_R1))
        keep_T = np.repeat(~hidden_R, np.diff(self.word_offsets_R1))
        return Requests(
            surface_R=np.where(hidden_R, 0, self.surface_R).astype(np.int32),
            subject_R=np.where(hidden_R, -1, self.subject_R).astype(np.int32),
            word_offsets_R1=np.concatenate([np.zeros(1, np.int64), np.cumsum(length_R)]),
            word_T=self.word_T[keep_T],
        )

    def query_of_request(self) -> Int64Array:
        """Number the distinct lists of words, and return each request's; one without words is 0."""
        length_R, words = np.diff(self.word_offsets_R1), 1 + int(self.word_T.max(initial=0))
        query_R = np.zeros(len(self), np.int64)
        for place in range(int(length_R.max(initial=0))):
            longer_R = np.flatnonzero(length_R > place)
            word_L = self.word_T[self.word_offsets_R1[longer_R] + place]
            # A list of words is told by the number of what stands before its last word, and by that word.
            _, number_L = np.unique(query_R[longer_R] * words + word_L, return_inverse=True)
            query_R[longer_R] = 1 + int(query_R.max()) + number_L
        return query_R


def words_of(text: str) -> list[str]:
    """Return the words of a search, lower case, each once, in the order of their first place.

    Example:
        >>> words_of("Red shoes, red!")
        ['red', 'shoes']
    """
    return list(dict.fromkeys(_WORD.findall(text.casefold())))


def word_vocabulary(queries: pa.Array) -> Vocabulary:
    """Return the words of distinct queries."""
    words = sorted({word for query in queries.to_pylist() if query is not None for word in words_of(query)})
    return Vocabulary(pa.array(words, pa.string()))


def encode_words(queries: pa.Array | pa.ChunkedArray, vocabulary: Vocabulary) -> tuple[Int64Array, Int32Array]:
    """Return the words of each query as ragged codes; null has none, and words outside the vocabulary are left out."""
    whole = queries if isinstance(queries, pa.Array) else pa.concat_arrays([*queries.chunks, pa.array([], pa.string())])
    dictionary = whole.dictionary_encode()
    distinct = [words_of(text) for text in dictionary.dictionary.to_pylist()]
    code_W = vocabulary.encode(pa.array([word for words in distinct for word in words], pa.string()))
    owner_W = np.repeat(np.arange(len(distinct)), np.array([len(words) for words in distinct], np.int64))
    known_W = code_W >= 0
    offsets_Q1 = np.zeros(len(distinct) + 2, np.int64)
    np.cumsum(np.bincount(owner_W[known_W], minlength=len(distinct) + 1), out=offsets_Q1[1:])
    # Null is one more query without words.
    query_R = dictionary.indices.fill_null(len(distinct)).to_numpy(zero_copy_only=False).astype(np.int64)
    position_T, offsets_R1 = ragged_index(offsets_Q1[query_R], offsets_Q1[query_R + 1])
    return offsets_R1, code_W[known_W][position_T]
