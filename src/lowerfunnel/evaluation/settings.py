"""Settings of the evaluation."""

from dataclasses import dataclass
from typing import Literal

Floor = Literal["popularity", "untrained", "itemknn", "als", "own_history"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """What is measured, and beside which floors."""

    ks: tuple[int, ...] = (10, 20, 50, 100, 500, 1000)
    """Lengths of the lists."""
    oracle: bool = True
    """Whether the truth of a synthetic world that the recipe makes joins the models ("temporal" splits). It takes about a
    microsecond for each test user, item and day."""
    floors: tuple[Floor, ...] = ("popularity", "untrained", "own_history", "itemknn", "als")
    """Models to measure beside. "itemknn" and "als" need the extra "baselines"; without it they are left out, with a
    warning that stands in the report."""
    headline: str = "recall@100"
    """The metric of validation, early stop and the report's first sentence."""
    bootstrap: int = 1000
    """Resamples of the users for the 95% intervals."""
    cold_at_most: int = 5
    """An item with no more training events than this is cold."""
    validation_users: int = 5000
    """Users at most whose held-out pairs the validations of training look at, drawn once."""

    def __post_init__(self) -> None:
        if not self.ks or min(self.ks) < 1:
            raise ValueError(f"ks must be whole numbers from 1, got {list(self.ks)}")
        metric, _, k = self.headline.partition("@")
        if metric not in ("recall", "hr", "ndcg", "mrr", "micro_recall") or not k.isdecimal() or int(k) < 1:
            raise ValueError(
                f'headline must be recall, hr, ndcg, mrr or micro_recall at a length, like "recall@100", got "{self.headline}"'
            )
        if int(k) not in self.ks:
            raise ValueError(f"headline is {self.headline} and ks holds no {k}; add it to ks")
        if self.bootstrap < 100:
            raise ValueError(f"bootstrap must be at least 100 for a 95% interval, got {self.bootstrap}")
        if self.validation_users < 1:
            raise ValueError(f"validation_users must be at least 1, got {self.validation_users}")
        if self.cold_at_most < 0:
            raise ValueError(f"cold_at_most must not be negative, got {self.cold_at_most}")
