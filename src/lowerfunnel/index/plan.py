"""How a search goes about it, and how wide an approximate one must be.

Shape letters: N measured points.
"""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal

Strategy = Literal["exact", "graph", "lists"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a search does first. Lists that come back short are searched again, wider, and in the end exactly."""

    strategy: Strategy
    """"exact" scores every allowed item, "graph" walks an HNSW graph, "lists" looks into inverted lists."""
    width: int
    """Items scored (exact), candidates kept (graph: FAISS's efSearch), or lists looked into (FAISS's nprobe)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Widths:
    """The width that a search needs by how deep it reaches.

    The best k items of a filter that passes a share s are found about where the best k / s of all items lie: that is
    the depth of a search.

    Attributes:
        points: (depth, width) pairs, both rising. Between them the width is interpolated on logarithmic scales; above
            the first depth only, for a shallow search takes the first width.
        growth: Beyond the last point the width grows as this power of the depth.
    """

    points: tuple[tuple[float, int], ...]
    growth: float

    def __post_init__(self) -> None:
        depths, widths = [depth for depth, _ in self.points], [width for _, width in self.points]
        if not self.points or depths != sorted(set(depths)) or widths != sorted(widths) or widths[0] < 1:
            raise ValueError(f"widths need points of rising depth and width, at least one, got {self.points}")

    def at(self, depth: float) -> int:
        """Return the width for a depth.

        Example:
            >>> Widths(points=((100, 10), (400, 20)), growth=1.0).at(200)
            14
        """
        place = bisect_right([point[0] for point in self.points], depth)
        if place == 0:
            return self.points[0][1]
        low_depth, low_width = self.points[place - 1]
        if place == len(self.points):
            return int(low_width * (depth / low_depth) ** self.growth)
        high_depth, high_width = self.points[place]
        # The same power law that goes through both points.
        part = (depth / low_depth) ** (_log_ratio(high_width, low_width) / _log_ratio(high_depth, low_depth))
        return int(low_width * part)


def _log_ratio(high: float, low: float) -> float:
    return math.log(high / low)
