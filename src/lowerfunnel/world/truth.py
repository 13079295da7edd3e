"""What is true in a world and no log can tell: who likes what, and the chance that a look ends in a purchase.

Shape letters: U users, I items, D latent dimensions, N pairs; rows are positions in `user_id_U` and `item_id_I`.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from lowerfunnel.config import load_settings
from lowerfunnel.errors import RunError
from lowerfunnel.world.population import Floats, Ints, Population
from lowerfunnel.world.settings import WorldConfig

TRUTH_FILE = "truth.safetensors"
WORLD_FILE = "world.json"
PRICE_WEIGHT = 1.0
CHECKOUT_TASTE_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldTruth:
    """The hidden state of a world, and the probabilities that follow from it."""

    config: WorldConfig
    user_id_U: Ints
    user_latent_UD: Floats
    user_log_price_U: Floats
    item_id_I: Ints
    item_latent_ID: Floats
    item_log_price_I: Floats
    item_appeal_I: Floats
    item_shop_logit_I: Floats
    """What the item's advertiser adds to the logit of a purchase."""

    @classmethod
    def of(cls, config: WorldConfig, people: Population) -> "WorldTruth":
        """Take the truth out of a population."""
        return cls(
            config=config,
            user_id_U=people.user_id_U,
            user_latent_UD=people.user_latent_UD,
            user_log_price_U=people.user_log_price_U,
            item_id_I=people.item_id_I,
            item_latent_ID=people.item_latent_ID,
            item_log_price_I=people.item_log_price_I,
            item_appeal_I=people.item_appeal_I,
            item_shop_logit_I=people.advertiser_logit_A[people.item_advertiser_I],
        )

    def affinity(self, user_N: Ints, item_N: Ints) -> Floats:
        """Return the match of taste of each pair, a cosine: 1 is perfect. Rows broadcast against each other."""
        user, item = np.broadcast_arrays(user_N, item_N)
        cosine: Floats = np.einsum("...d,...d->...", self.user_latent_UD[user], self.item_latent_ID[item])
        return cosine

    def cart_probability(self, user_N: Ints, item_N: Ints) -> Floats:
        """Return the chance that a product view leads to a cart."""
        return sigmoid(self.config.cart_logit + self._pull(user_N, item_N, taste_share=1.0))

    def checkout_probability(self, user_N: Ints, item_N: Ints) -> Floats:
        """Return the chance that a cart is bought, some day."""
        return sigmoid(self.config.checkout_logit + self._pull(user_N, item_N, taste_share=CHECKOUT_TASTE_SHARE))

    def conversion_propensity(self, user_N: Ints, item_N: Ints) -> Floats:
        """Return the chance that a product view ends in a purchase, some day."""
        return self.cart_probability(user_N, item_N) * self.checkout_probability(user_N, item_N)

    def demand(self, user_N: Ints, item_N: Ints) -> Floats:
        """Return how often, up to a factor per user, a user buys an item: it is seen, it pleases, it is bought.

        That is the order in which a perfect retriever lists the items, if users keep meeting items as in this log.
        """
        pleases = np.exp(self.config.taste_weight * self.affinity(user_N, item_N))
        return self.item_appeal_I[item_N] * pleases * self.conversion_propensity(user_N, item_N)

    def _pull(self, user_N: Ints, item_N: Ints, *, taste_share: float) -> Floats:
        too_dear_N = (self.item_log_price_I[item_N] - self.user_log_price_U[user_N]) ** 2
        taste_N = self.config.taste_weight * taste_share * self.affinity(user_N, item_N)
        return taste_N - PRICE_WEIGHT * too_dear_N + self.item_shop_logit_I[item_N]

    def save(self, folder: Path) -> None:
        """Write the arrays as safetensors; the settings stand in the world's JSON file."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "config"}
        (folder / TRUTH_FILE).write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))

    @classmethod
    def load(cls, folder: Path) -> "WorldTruth":
        """Read the truth of the world that `generate_world` wrote to a folder.

        Raises:
            RunError: If the folder holds no world or a damaged one.
        """
        try:
            settings = json.loads((folder / WORLD_FILE).read_text(encoding="utf-8"))["settings"]
            arrays = load_file(folder / TRUTH_FILE)
            return cls(config=load_settings(WorldConfig, settings, source=str(folder / WORLD_FILE)), **arrays)
        except FileNotFoundError as error:
            raise RunError(f"{folder} holds no synthetic world: {error.filename} is missing; generate one") from error
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"the synthetic world in {folder} is damaged ({error}); delete and generate it") from error


def sigmoid(logit: NDArray[np.float64]) -> Floats:
    """Return 1 / (1 + exp(-logit)), without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logit))
