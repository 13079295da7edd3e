"""Settings of the labels and of the split."""

from dataclasses import dataclass, field
from typing import Literal

from lowerfunnel.events.schema import ACTIONS

DwellWeight = Literal["none", "log2", "log"]
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
class DwellConfig:
    """How much a click counts by the time its user stayed."""

    weight: DwellWeight = "none"
    """What the weight of a positive is multiplied with, by the `t` seconds its user stayed: "none" nothing, "log2"
    `min(1, log2(1 + t / t_max_s))`, "log" `log(1 + min(t, t_max_s)) / log(1 + t_max_s)`. Both are 0 for a bounce and 1
    from `t_max_s` on. A positive of weight 0, or whose time is not known, is no example."""
    t_max_s: float = 60.0
    """Seconds from which a click counts in full."""
    actions: tuple[str, ...] = ("click",)
    """Actions whose weight is multiplied."""

    def __post_init__(self) -> None:
        if not 0 < self.t_max_s < float("inf"):
            raise ValueError(f"t_max_s must be a number of seconds above 0, got {self.t_max_s}")
        unknown = sorted(set(self.actions) - set(ACTIONS))
        if unknown:
            raise ValueError(f"unknown actions {unknown}; the canonical ones are {', '.join(ACTIONS)}")
        if not self.actions:
            raise ValueError("actions must name at least one action")


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
    touch_window_h: float = 0.0
    """Hours after a touch in which a positive without a request and surface of its own takes over those of the touch, with
    its context item and query: of the user's last click on the item, else of the last impression. 0 turns it off. For
    logs with times; counted in whole seconds."""
    surfaces: tuple[str, ...] = ()
    """Surfaces whose positives are learned from, for a model of some surfaces alone; none named means all, and positives
    without a surface too. What is held out does not change."""
    ignored: bool = False
    """Whether served ads that nobody engaged with are listed, for hard negatives."""
    dwell: DwellConfig = field(default_factory=DwellConfig)
    """Whether a long visit counts more than a short one."""
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
        if not 0 <= self.touch_window_h < float("inf"):
            raise ValueError(f"touch_window_h must be a number of hours and not negative, got {self.touch_window_h}")
        if self.dwell.weight != "none":
            self._check_dwell()

    def _check_dwell(self) -> None:
        converting = [action for action in self.dwell.actions if action in self.conversions]
        if converting:
            raise ValueError(
                f"dwell.actions names {', '.join(converting)}, which labels.conversions names too; only an engagement is "
                "weighed by its dwell"
            )
        unweighted = [action for action in self.dwell.actions if action not in self.weights]
        if unweighted:
            raise ValueError(
                f"dwell.actions names {', '.join(unweighted)} and weights, which names {', '.join(self.weights)}, does not: "
                "give it a weight, or leave it out of dwell.actions"
            )
