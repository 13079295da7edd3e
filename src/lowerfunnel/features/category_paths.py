"""Categories as paths in a tree: an item has a token for its category and for each one above it.

Shape letters: I items, T tokens (ragged over items), C distinct categories.
"""

import numpy as np
import pyarrow as pa

from lowerfunnel.events.timeline import Int32Array, Int64Array, ragged_index
from lowerfunnel.features.vocabulary import Vocabulary


def path_tokens(category: str, separator: str) -> list[str]:
    """Return a category's path from the top down, each step with all that lies above it.

    Spaces around a step do not count, and neither do empty steps.

    Example:
        >>> path_tokens("electronics > keyboards", " > ")
        ['electronics', 'electronics > keyboards']
    """
    steps = [step for step in map(str.strip, category.split(separator)) if step]
    return [separator.join(steps[: depth + 1]) for depth in range(len(steps))]


def path_vocabulary(categories: pa.ChunkedArray, separator: str | None) -> Vocabulary:
    """Return the tokens of all categories of a catalogue; none without a separator."""
    if separator is None:
        return Vocabulary(pa.array([], pa.string()))
    names = [name for name in categories.unique().to_pylist() if name is not None]
    tokens = sorted({token for name in names for token in path_tokens(name, separator)})
    return Vocabulary.of(pa.array(tokens, pa.string()))


def encode_paths(
    categories: pa.ChunkedArray, vocabulary: Vocabulary, separator: str | None
) -> tuple[Int64Array, Int32Array]:
    """Return each item's tokens as offsets, [I + 1], and codes, [T].

    Tokens that are not in the vocabulary are left out. An unknown category has none, and without a separator nobody has.
    """
    if separator is None:
        return np.zeros(len(categories) + 1, np.int64), np.zeros(0, np.int32)
    distinct = Vocabulary.of(categories)
    tokens = [path_tokens(name, separator) for name in distinct.ids.to_pylist()]
    code_T = vocabulary.encode(pa.array([token for path in tokens for token in path], pa.string()))
    owner_T = np.repeat(np.arange(len(tokens)), np.array([len(path) for path in tokens], np.int64))
    # An unknown category is one more, last, without tokens.
    offsets_C2 = np.zeros(len(tokens) + 2, np.int64)
    np.cumsum(np.bincount(owner_T[code_T >= 0], minlength=len(tokens) + 1), out=offsets_C2[1:])
    category_I = distinct.encode(categories)
    category_I = np.where(category_I >= 0, category_I, len(tokens))
    position_T, offsets_I1 = ragged_index(offsets_C2[category_I], offsets_C2[category_I + 1])
    return offsets_I1, code_T[code_T >= 0][position_T]
