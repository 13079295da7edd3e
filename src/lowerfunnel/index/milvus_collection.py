"""The collection that an index keeps in Milvus: built once, verified before it is used, never changed.

Rows are (id, vector): the id is the item's place, 0..I-1. Vectors of width 1 get a second element 0, because Milvus
takes no vectors narrower than 2; that changes no inner product.

Shape letters: I items, D width, N rows read, S rows of the sample.
"""

import hashlib
import time
from dataclasses import dataclass

import numpy as np

from lowerfunnel.errors import DataError, RunError, StoreError
from lowerfunnel.index.milvus_connection import MilvusConnection
from lowerfunnel.index.ranking import Float32Array, Int32Array, Int64Array

WIDEST = 32_768
"""Longest vectors that Milvus takes."""
LONGEST_ID_LIST = 10_000
"""Most ids in one filter expression."""
ID, VECTOR = "id", "vector"

_FINGERPRINT = "lowerfunnel.fingerprint"
_MESSAGE_BYTES = 16 * 2**20  # Milvus refuses messages above 64 MB
_NARROWEST = 2
_SAMPLE = 64
_LONGEST_WAIT_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A few rows of a collection, by which it is told from another.

    Attributes:
        place_S: Their items, ascending.
        vector_SD: Their vectors.
    """

    place_S: Int64Array
    vector_SD: Float32Array


@dataclass(frozen=True, kw_only=True, slots=True)
class MilvusCollection:
    """One collection and what must be true of it.

    Attributes:
        connection: How it is reached.
        name: Its name: prefix, beginning of the fingerprint, time of the build.
        items: Number of rows.
        width: Length of the vectors.
        fingerprint: SHA-256 of the vectors, which the collection carries as a property.
    """

    connection: MilvusConnection
    name: str
    items: int
    width: int
    fingerprint: str

    @classmethod
    def build(
        cls,
        connection: MilvusConnection,
        vector_ID: Float32Array,
        *,
        prefix: str,
        links: int,
        build_width: int,
        build_timeout_s: float,
    ) -> "MilvusCollection":
        """Make a new collection with an HNSW graph, load it and verify it; a half-built one is dropped.

        Raises:
            DataError: If the vectors are wider than Milvus takes.
            RunError: If Milvus refuses a step, or the collection does not hold what was written.
            StoreError: If Milvus is out of reach or too slow.
        """
        items, width = vector_ID.shape
        if width > WIDEST:
            raise DataError(f"vectors of width {width} came, and Milvus takes at most {WIDEST}: use a narrower tower")
        print_of = fingerprint(vector_ID)
        name = f"{prefix}_{print_of[:16]}_{time.time_ns():x}"
        new = cls(connection=connection, name=name, items=items, width=width, fingerprint=print_of)
        new._create()
        try:
            new._insert(vector_ID, timeout_s=build_timeout_s)
            connection.call("flush", name, timeout_s=build_timeout_s)
            new._index(links=links, build_width=build_width, timeout_s=build_timeout_s)
            connection.call("load_collection", name, timeout_s=build_timeout_s)
            new.verify(sample_of(vector_ID))
        except BaseException as error:
            try:
                new.drop()
            except (RunError, StoreError):
                error.add_note(f"the half-built collection {name} could not be dropped: drop it by hand")
            raise
        return new

    def open(self, sample: Sample, *, timeout_s: float) -> None:
        """Load the collection into the server's memory, if it is not there, and verify it.

        Raises:
            RunError: If it is gone or differs.
            StoreError: If Milvus is out of reach or too slow.
        """
        if not self.connection.call("has_collection", self.name):
            raise RunError(f"Milvus at {self.connection.uri} holds no collection {self.name}: build the index again")
        self.connection.call("load_collection", self.name, timeout_s=timeout_s)
        self.verify(sample)

    def verify(self, sample: Sample) -> None:
        """Make sure that the collection is the one that was built: fingerprint, number of rows, some vectors.

        Raises:
            RunError: If it is another one, or was changed.
            StoreError: If Milvus is out of reach or too slow.
        """
        properties = self.connection.call("describe_collection", self.name).get("properties", {})
        found = str(properties.get(_FINGERPRINT, "no fingerprint"))
        if found != self.fingerprint:
            raise self._differs(f"its vectors are {found[:16]}, needed are {self.fingerprint[:16]}")
        # Strong: what was written by anyone until now is counted, so later searches may be less strict.
        rows = self.connection.call(
            "query", self.name, filter="", output_fields=["count(*)"], consistency_level="Strong"
        )
        if int(rows[0]["count(*)"]) != self.items:
            raise self._differs(f"it holds {int(rows[0]['count(*)'])} rows, needed are {self.items}")
        read_SD = self.vectors(sample.place_S)
        differs_S = np.asarray((read_SD != sample.vector_SD).any(axis=1))
        if differs_S.any():
            place = int(sample.place_S[differs_S.argmax()])
            raise self._differs(
                f"{int(differs_S.sum())} of {len(differs_S)} vectors read back are not those written, first item {place}"
            )

    def vectors(self, place_N: Int64Array) -> Float32Array:
        """Read the vectors of distinct items.

        Raises:
            RunError: If one of them is missing.
            StoreError: If Milvus is out of reach or too slow.
        """
        vector_ND = np.zeros((len(place_N), self.width), np.float32)
        page = min(LONGEST_ID_LIST, _rows_of_a_message(self.width))
        for start in range(0, len(place_N), page):
            wanted = place_N[start : start + page]
            rows = self.connection.call("query", self.name, filter=id_list(wanted), output_fields=[ID, VECTOR])
            row_of = {int(row[ID]): row[VECTOR] for row in rows}
            try:
                read = np.array([row_of[place] for place in wanted.tolist()], np.float32)
            except KeyError as error:
                raise self._differs(f"item {error} is missing") from error
            vector_ND[start : start + page] = read[:, : self.width]
        return vector_ND

    def search(
        self, query_QD: Float32Array, limit: int, *, expression: str, search_width: int
    ) -> tuple[Int64Array, Int32Array, Float32Array]:
        """Ask for up to `limit` items of each query, best first.

        Args:
            query_QD: The queries.
            limit: At most 16,384.
            expression: Filter in Milvus' language; empty lets everything pass.
            search_width: Candidates kept while the graph is walked (ef), at least `limit`.

        Returns:
            How many items each query got, the items of all queries one after another, and their scores.
        """
        found = self.connection.call(
            "search",
            self.name,
            data=list(padded(query_QD)),
            anns_field=VECTOR,
            filter=expression,
            limit=limit,
            output_fields=[ID],  # an empty list would bring the vectors
            search_params={"metric_type": "IP", "params": {"ef": search_width}},
            consistency_level="Bounded",
        )
        count_Q = np.array([len(hits.ids) for hits in found], np.int64)
        item_N = np.array([item for hits in found for item in hits.ids], np.int64)
        score_N = np.array([score for hits in found for score in hits.distances], np.float32)
        if len(item_N) and not (int(item_N.min()) >= 0 and int(item_N.max()) < self.items):
            raise self._differs(f"it answered items {int(item_N.min())}..{int(item_N.max())} of {self.items}")
        return count_Q, item_N.astype(np.int32), score_N

    def drop(self) -> None:
        """Delete the collection, for every process. Nothing is raised where it is gone already."""
        self.connection.call("drop_collection", self.name)

    def _create(self) -> None:
        types = self.connection.pymilvus.DataType
        schema = self.connection.client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(ID, types.INT64, is_primary=True)
        schema.add_field(VECTOR, types.FLOAT_VECTOR, dim=max(self.width, _NARROWEST))
        self.connection.call("create_collection", self.name, schema=schema, properties={_FINGERPRINT: self.fingerprint})

    def _insert(self, vector_ID: Float32Array, *, timeout_s: float) -> None:
        batch = _rows_of_a_message(self.width)
        for start in range(0, self.items, batch):
            rows = [
                {ID: start + row, VECTOR: vector_D}
                for row, vector_D in enumerate(padded(vector_ID[start : start + batch]))
            ]
            self.connection.call("insert", self.name, rows, timeout_s=timeout_s)

    def _index(self, *, links: int, build_width: int, timeout_s: float) -> None:
        """Have the graph built, and wait for it."""
        parameters = self.connection.client.prepare_index_params()
        # Nested once more than pymilvus asks for: it lifts them out of the outer "params", a server takes them either
        # way, and Milvus Lite, which reads the inner ones only, would build with its own defaults.
        parameters.add_index(
            VECTOR,
            index_type="HNSW",
            index_name=VECTOR,
            metric_type="IP",
            params={"params": {"M": links, "efConstruction": build_width}},
        )
        # pymilvus' own waiting sleeps half a second at least, and never ends where the time is not a whole number.
        self.connection.call("create_index", self.name, parameters, timeout_s=timeout_s, sync=False)
        if not self.items:
            return
        until, pause_s = time.monotonic() + timeout_s, 0.01
        while (state := str(self.connection.call("describe_index", self.name, VECTOR)["state"])) != "Finished":
            if state == "Failed":
                raise RunError(f"Milvus at {self.connection.uri} could not build the graph: see the server's log")
            if time.monotonic() > until:
                raise StoreError(
                    f"Milvus at {self.connection.uri} did not finish the graph of {self.items} items within "
                    f"{timeout_s:g} s (its state is {state}): allow more time in milvus_build_timeout_s"
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_WAIT_S)

    def _differs(self, how: str) -> RunError:
        return RunError(
            f"the collection {self.name} at {self.connection.uri} is not the one that was built ({how}): build the "
            "index again"
        )


def fingerprint(vector_ID: Float32Array) -> str:
    """Return the SHA-256 of vectors and their shape."""
    digest = hashlib.sha256(repr(vector_ID.shape).encode())
    digest.update(np.ascontiguousarray(vector_ID, "<f4").data.cast("B") if vector_ID.size else b"")
    return digest.hexdigest()


def sample_of(vector_ID: Float32Array) -> Sample:
    """Return up to 64 rows, evenly spread, the first and the last among them."""
    items = len(vector_ID)
    place_S = np.unique(np.linspace(0, items - 1, min(_SAMPLE, items)).round().astype(np.int64))
    return Sample(place_S=place_S, vector_SD=vector_ID[place_S])


def id_list(place_N: Int64Array, *, inside: bool = True) -> str:
    """Return the filter expression that lets the given items pass, or all others.

    Example:
        >>> id_list(np.array([3, 5]))
        'id in [3,5]'
    """
    return f"{ID} {'in' if inside else 'not in'} [{','.join(map(str, place_N.tolist()))}]"


def padded(vector_ND: Float32Array) -> Float32Array:
    """Return the vectors, at least as wide as Milvus needs."""
    missing = max(0, _NARROWEST - vector_ND.shape[1])
    return np.pad(vector_ND, ((0, 0), (0, missing))) if missing else vector_ND


def _rows_of_a_message(width: int) -> int:
    """Return how many rows a message may hold."""
    return max(1, _MESSAGE_BYTES // (4 * max(width, _NARROWEST) + 16))
