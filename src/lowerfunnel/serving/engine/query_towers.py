"""The query towers of the live versions: requests that arrive together are encoded together.

Shape letters: R requests of one caller, E width of the vectors.
"""

from collections.abc import Sequence

from lowerfunnel.serving.engine.live import ItemInputs
from lowerfunnel.serving.towers.micro_batcher import MicroBatcher
from lowerfunnel.serving.towers.query_features import QueryFeatures
from lowerfunnel.serving.versions.loaded import Float32Array, LoadedGenerator

_Asked = tuple[LoadedGenerator, ItemInputs, QueryFeatures]


class QueryTowers:
    """Encodes the requests of many threads. It belongs to no version: requests of two versions are two calls.

    Args:
        largest_batch: Callers that are answered by one call, at most; with 1 each makes its own.
    """

    def __init__(self, *, largest_batch: int) -> None:
        self._batcher = MicroBatcher(_encoded, most=largest_batch) if largest_batch > 1 else None

    def encode(self, generator: LoadedGenerator, inputs: ItemInputs, features: QueryFeatures) -> Float32Array:
        """Return the vectors of some requests, [R, E]."""
        if self._batcher is None:
            return generator.tower.encode(features, inputs)
        return self._batcher.answer((generator, inputs, features))

    def close(self) -> None:
        """Answer what waits and stop."""
        if self._batcher is not None:
            self._batcher.close()


def _encoded(asked: Sequence[_Asked]) -> list[Float32Array]:
    """Encode the requests of several callers, those of one generator at one moment together."""
    found: list[Float32Array | None] = [None] * len(asked)
    groups: dict[tuple[int, int], list[int]] = {}
    for place, (generator, inputs, _) in enumerate(asked):
        groups.setdefault((id(generator), id(inputs)), []).append(place)
    for places in groups.values():
        generator, inputs, _ = asked[places[0]]
        parts = [asked[place][2] for place in places]
        vector_RE = generator.tower.encode(QueryFeatures.joined(parts), inputs)
        start = 0
        for place, part in zip(places, parts, strict=True):
            found[place] = vector_RE[start : start + len(part)]
            start += len(part)
    return [vectors for vectors in found if vectors is not None]
