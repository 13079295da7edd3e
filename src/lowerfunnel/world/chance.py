"""Chance that can be asked in any order: each number is a pure function of a seed, a stream and integer keys.

A world needs the same fate for the same (request, item) under every policy, and the same day whatever was made before
it. So potential outcomes are hashed from their keys; only what no policy can touch (who comes when) is drawn in bulk,
from a generator of that day alone.

The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), applied once per key.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_MASK = (1 << 64) - 1


class Stream(IntEnum):
    """What a number is for. Two streams of one seed never share numbers; a new one is appended."""

    POPULATION = 1
    TRAFFIC = 2
    MISSION = 3
    CANDIDATES = 4
    SLOTS = 5
    FATE = 6
    ORGANIC = 7
    TRACKING = 8
    FRAUD = 9


def generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """Return the generator of one stream, for draws in bulk."""
    return np.random.default_rng((seed, int(stream), *key))


def keyed(seed: int, stream: Stream, *key: NDArray[np.integer]) -> Keys:
    """Hash integer keys, which broadcast against each other, to one 64-bit key each."""
    state: Keys = _mix(np.asarray([(seed * 0x9E3779B97F4A7C15 + int(stream)) & _MASK], np.uint64))
    for part in key:
        state = _mix(state ^ (np.asarray(part).astype(np.uint64) * _GOLDEN))
    return state


def uniform(key: Keys, draw: int) -> Floats:
    """Return one number in (0, 1) per key; another `draw` gives an independent one."""
    bits = _mix(key + np.uint64((draw + 1) * 0x9E3779B97F4A7C15 & _MASK))
    # 53 bits and a half: neither 0 nor 1 can come out, so logarithms are finite.
    number: Floats = (bits >> np.uint64(11)).astype(np.float64)
    number += 0.5
    number *= 2.0**-53
    return number


def normal(key: Keys, draw: int) -> Floats:
    """Return one standard normal number per key (Box and Muller); it uses up `draw` and `draw` + 1."""
    radius = np.sqrt(-2.0 * np.log(uniform(key, draw)))
    return np.asarray(radius * np.cos(2.0 * np.pi * uniform(key, draw + 1)))


def _mix(state: Keys) -> Keys:
    with np.errstate(over="ignore"):
        state = state + _GOLDEN
        state ^= state >> np.uint64(30)
        state *= _FIRST
        state ^= state >> np.uint64(27)
        state *= _SECOND
        state ^= state >> np.uint64(31)
    return state
