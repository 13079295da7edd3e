"""Settings of the labels and of the split."""

from dataclasses import dataclass, field
from typing import Literal

from lowerfunnel.events.schema import ACTIONS

Strategy = Literal["temporal", "leave_last_out", "leave_random_out", "given"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """What is held out to measure with, and what to choose settings by."""

    strategy: Strategy = "temporal"
    """"temporal": the last days of the log; "leave_last_out": each user's last conversion; "leave_random_out": one of
    each user's conversions, for logs without order; "given": the log's own test file."""
    test_days: float = 7.0
    """Length of the test period ("temporal")."""
    validation_days: float = 7.0
    """Length of the validation period before it ("temporal")."""
    gap_h: float = 0.0
    """Hours before the validation and the test period whose conversions are neither learned from nor asked for
    ("temporal"). What users did in them is still their history."""
    validation_share: float = 0.2
    """Share of the users of whom a conversion is held out for validation, among those with one left to learn from
    (not "temporal")."""
    validation_of_new_items: bool = False
    """Whether all of a user's events on the item held out for validation are taken out of the log, not only the
    conversion. For test files whose items are new to their users: validation then asks the same question as the test
    (not "temporal")."""

    def __post_init__(self) -> None:
        for name in ("test_days", "validation_days"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.gap_h < 0:
            raise ValueError(f"gap_h must not be negative, got {self.gap_h}")
        if not 0 < self.validation_share <= 1:
            raise ValueError(f"validation_share must lie in (0, 1], got {self.validation_share}")
        if self.validation_of_new_items and self.strategy == "temporal":
            raise ValueError('validation_of_new_items has no meaning with the strategy "temporal"; leave it out')


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelConfig:
    """Which events are positives and how they are split."""

    conversions: tuple[str, ...] = ("checkout",)
    """Actions that are conversions: the task that everything is measured by."""
    weights: dict[str, float] = field(default_factory=lambda: {"checkout": 1.0})
    """Weight of a positive by its action; an action not named here is no positive. Those that are no conversions are the
    engagement task."""
    exclude_purchased: bool = True
    """Whether what a user has already converted on is left out of its recommendations."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """What is held out."""

    def __post_init__(self) -> None:
        unknown = sorted({*self.conversions, *self.weights} - set(ACTIONS))
        if unknown:
            raise ValueError(f"unknown actions {unknown}; the canonical ones are {', '.join(ACTIONS)}")
        if not self.conversions:
            raise ValueError("conversions must name at least one action")
        bad = {action: weight for action, weight in self.weights.items() if not weight > 0}
        if bad:
            raise ValueError(f"weights must be above 0, got {bad}; leave out an action that is no positive")
        unweighted = [action for action in self.conversions if action not in self.weights]
        if unweighted:
            raise ValueError(
                f"every conversion is a positive and needs a weight; {', '.join(unweighted)} has none in weights, which "
                f"names {', '.join(self.weights) or 'nothing'}"
            )
