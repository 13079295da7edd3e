"""The tree of categories: departments, and kinds of products below them, each a place in the space of tastes.

Shape letters: K leaf categories, D latent dimensions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowerfunnel.world.policy import Floats, Ints

Float32s = NDArray[np.float32]

DEPARTMENTS: dict[str, tuple[str, ...]] = {
    "home": ("desk lamp", "wool blanket", "picture frame", "bookshelf", "pillow", "wall clock", "scented candle", "rug"),
    "kitchen": ("coffee grinder", "chef's knife", "travel mug", "water bottle", "tea set", "frying pan", "toaster", "apron"),
    "fashion": ("rain jacket", "summer dress", "denim jeans", "sweater", "swimsuit", "leather belt", "wool coat", "scarf"),
    "sport": ("running shoes", "yoga mat", "bike helmet", "tent", "hiking boots", "fishing rod", "dumbbell", "ski goggles"),
    "electronics": ("headphones", "watch", "keyboard", "camera lens", "phone case", "speaker", "monitor", "charger"),
    "beauty": ("face cream", "lipstick", "hair dryer", "perfume", "nail polish", "sun lotion", "soap", "mascara"),
    "garden": ("garden chair", "plant pot", "electric drill", "hammock", "watering can", "bird house", "grill", "hedge trimmer"),
    "family": ("board game", "dog bed", "baby stroller", "toy train", "puzzle", "school bag", "cat tree", "doll house"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Categories:
    """K leaf categories with their names, places and weights."""

    path_K: list[str]
    """Such as "home > desk lamp"."""
    department_K: Ints
    centre_KD: Float32s
    """Unit vectors; categories of one department lie near each other."""
    weight_K: Floats
    """Share of demand; heavy-tailed, adding up to 1."""
    price_K: Floats
    """Median price in USD."""

    def __len__(self) -> int:
        return len(self.path_K)

    @property
    def kind_K(self) -> list[str]:
        """The last word of each path: what one product is called."""
        return [path.rpartition(" > ")[2] for path in self.path_K]

    @property
    def departments(self) -> list[str]:
        """Department of each category, by name."""
        return [path.partition(" > ")[0] for path in self.path_K]


def draw_categories(
    rng: np.random.Generator, *, count: int, latent_dim: int, exponent: float, price_spread: float
) -> Categories:
    """Draw `count` leaf categories below at most eight departments."""
    names = list(DEPARTMENTS)
    department_K = np.arange(count) % len(names)
    path_K = []
    for k, d in enumerate(department_K):
        kinds = DEPARTMENTS[names[d]]
        turn, place = divmod(k // len(names), len(kinds))
        path_K.append(f"{names[d]} > {kinds[place]}" + (f" {turn + 1}" if turn else ""))
    department_ED = unit(rng.standard_normal((len(names), latent_dim)))
    own_KD = unit(rng.standard_normal((count, latent_dim)))
    weight_K = rng.permutation(np.arange(1, count + 1, dtype=np.float64) ** -exponent)
    return Categories(
        path_K=path_K,
        department_K=department_K,
        centre_KD=unit(0.8 * department_ED[department_K] + own_KD).astype(np.float32),
        weight_K=weight_K / weight_K.sum(),
        price_K=np.exp(rng.normal(3.3, price_spread, count)),
    )


def unit(vector_ND: Floats) -> Floats:
    """Scale rows to length 1."""
    length_N1: Floats = np.linalg.norm(vector_ND, axis=1, keepdims=True)
    return vector_ND / np.maximum(length_N1, np.finfo(np.float32).tiny)


def noise(rng: np.random.Generator, length: float, shape: tuple[int, int]) -> Floats:
    """Draw vectors whose expected length is about `length`."""
    each: float = length / np.sqrt(shape[1])
    return rng.standard_normal(shape) * each
