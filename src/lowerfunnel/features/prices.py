"""Prices as models see them: on one scale, beside those of the same category, and in buckets.

Shape letters: I items, P items with a price.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lowerfunnel.events.timeline import Float32Array, Int32Array
from lowerfunnel.files import write_json

PRICE_BUCKETS = 10
"""Buckets of equally many items; bucket 0 comes on top, for an unknown price."""

FEWEST_PRICED = 5
"""Items with a price from which a category has a mean of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PriceScale:
    """What the prices of a catalogue are measured by. Log prices are ``log1p(price)``.

    Attributes:
        mean: Mean log price, 0 without any price.
        deviation: Standard deviation of the log prices, 1 where they do not differ.
        category_mean: Mean log price of each category with `FEWEST_PRICED` priced items or more.
        edges: The prices between the buckets, ascending; none without any price.
    """

    mean: float
    deviation: float
    category_mean: Mapping[str, float]
    edges: tuple[float, ...]

    @classmethod
    def of(cls, items: pa.Table) -> "PriceScale":
        """Measure a catalogue (`lowerfunnel.events.schema.item_schema`)."""
        priced = items.filter(pc.is_valid(items.column("price")))
        price_P = priced.column("price").to_numpy()
        if not len(price_P):
            return cls(mean=0.0, deviation=1.0, category_mean={}, edges=())
        log_price_P = np.log1p(price_P)
        deviation = float(log_price_P.std())
        return cls(
            mean=float(log_price_P.mean()),
            deviation=deviation if deviation > 0 else 1.0,
            category_mean=_category_means(priced.column("category_id"), log_price_P),
            edges=tuple(np.quantile(price_P, np.arange(1, PRICE_BUCKETS) / PRICE_BUCKETS).tolist()),
        )

    def scaled(self, items: pa.Table) -> Float32Array:
        """Return each item's log price, its distance to its category's mean, and whether it is known (0 or 1), [I, 3].

        The first two are in deviations, the first counted from the overall mean, which also stands in for a category
        without a mean of its own. An unknown price is a row of zeros.
        """
        price_I, known_I = _prices(items)
        log_price_I = np.log1p(np.where(known_I, price_I, 0.0))
        scaled_I2 = (
            log_price_I[:, None] - np.stack([np.full(len(price_I), self.mean), self._means(items)], axis=1)
        ) / (self.deviation)
        scaled_I3 = np.concatenate([scaled_I2, np.ones((len(price_I), 1))], axis=1)
        return np.where(known_I[:, None], scaled_I3, 0.0).astype(np.float32)

    def buckets(self, items: pa.Table) -> Int32Array:
        """Return the bucket of each item's price: 0 unknown, else 1 + its decile in the catalogue that was measured."""
        price_I, known_I = _prices(items)
        bucket_I = 1 + np.searchsorted(np.array(self.edges), np.where(known_I, price_I, 0.0), side="right")
        return np.where(known_I, bucket_I, 0).astype(np.int32)

    def save(self, path: Path) -> None:
        """Write the scale to one JSON file; it comes back to the last digit."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "PriceScale":
        """Read what `save` wrote."""
        written = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**written, "edges": tuple(written["edges"])})

    def _means(self, items: pa.Table) -> npt.NDArray[np.float64]:
        names = sorted(self.category_mean)
        # One more, last, for categories without a mean: index_in says null.
        mean_C = np.array([*(self.category_mean[name] for name in names), self.mean])
        place = pc.index_in(items.column("category_id"), value_set=pa.array(names, pa.string()))
        mean_I: npt.NDArray[np.float64] = mean_C[pc.fill_null(place, len(names)).to_numpy()]
        return mean_I


def _category_means(category: pa.ChunkedArray, log_price_P: npt.NDArray[np.float64]) -> dict[str, float]:
    table = pa.table({"category": category, "log_price": log_price_P})
    grouped = table.group_by("category", use_threads=False).aggregate([("log_price", "mean"), ("log_price", "count")])
    rows = zip(
        *(grouped.column(name).to_pylist() for name in ("category", "log_price_mean", "log_price_count")), strict=True
    )
    return {
        name: mean for name, mean, count in sorted(row for row in rows if row[0] is not None) if count >= FEWEST_PRICED
    }


def _prices(items: pa.Table) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    price_I = pc.fill_null(items.column("price"), np.nan).to_numpy()
    return price_I, ~np.isnan(price_I)
