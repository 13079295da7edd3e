"""What truly came of the ads that a policy showed, before any advertiser's reporting blurs it.

Shape letters: N impressions, O purchases.
"""

from dataclasses import dataclass

import numpy as np

from lowerfunnel.world.policy import Bools, Floats, Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """The N impressions of a day under one policy. Users, items and advertisers are rows of the world's population."""

    request_N: Ints
    t_us_N: Ints
    """Of the impression, microseconds since 1970, UTC."""
    user_N: Ints
    item_N: Ints
    advertiser_N: Ints
    surface_N: np.typing.NDArray[np.int8]
    position_N: Ints
    """From 1."""
    propensity_N: Floats
    """NaN for a policy that does not draw."""
    is_person_N: Bools
    """False for a bot; bots never buy."""
    clicked_N: Bools
    dwell_s_N: Floats
    """Seconds on the page after the click, NaN without one."""
    saved_N: Bools
    hidden_N: Bools
    carted_N: Bools
    """Whether the ad led to a cart, after a click or a view."""
    converted_N: Bools
    """Whether the ad led to a checkout, some day, after a click or a view."""
    view_through_N: Bools
    """Those of the converted that never clicked."""
    value_N: Floats
    """Order value in USD, 0 without a checkout; returned orders are worth 0 too."""
    cost_N: Floats
    """What the advertiser pays for it, in USD: its bid for a click."""

    def __len__(self) -> int:
        return len(self.request_N)


@dataclass(frozen=True, kw_only=True, slots=True)
class OrganicPurchases:
    """The O purchases whose way began on a day without any ad. No policy changes them."""

    t_us_O: Ints
    """Of the purchase, microseconds since 1970, UTC."""
    user_O: Ints
    item_O: Ints
    value_O: Floats
    """USD, 0 for a returned order."""
