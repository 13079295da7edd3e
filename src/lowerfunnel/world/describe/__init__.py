"""What a world's log looks like beside real ones: the same marginals of both, and how far they lie apart."""

from lowerfunnel.world.describe.comparison import Comparison, compare
from lowerfunnel.world.describe.describe import Description, describe
from lowerfunnel.world.describe.table import description_table

__all__ = ["Comparison", "Description", "compare", "describe", "description_table"]
