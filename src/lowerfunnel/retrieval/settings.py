"""Settings of the two-tower model and of its objective."""

from dataclasses import dataclass, field

from lowerfunnel.events.schema import ACTION_CODE, ACTIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerConfig:
    """Sizes and parts of the two towers."""

    width: int = 64
    """Width of every embedding and of the towers' output."""
    user_id: bool = True
    """Whether a user has an embedding of its own beside what is known of it."""
    item_id: bool = True
    """Whether an item has an embedding of its own beside its side features."""
    user_hidden: tuple[int, ...] = ()
    """Hidden layers of the user tower's residual MLP; none leaves the sum of its parts as it is."""
    item_hidden: tuple[int, ...] = ()
    """Hidden layers of the item tower's residual MLP."""
    history_length: int = 100
    """How many of a user's latest events are pooled; 0 turns the history off."""
    history_actions: tuple[str, ...] = tuple(
        action for action in ACTIONS if action not in ("impression", "hide", "return")
    )
    """Actions that make up the history. Impressions say what was shown, not what was wanted, and would crowd out the
    rest; hides and returns say what was not wanted."""
    popularity: bool = False
    """Whether an item's score starts from how much it was converted on: one more coordinate of its vector holds the
    logarithm of its share of the training examples by weight, and one of the user's a learned weight. A cosine alone has
    to spend its width to say that an item is popular."""
    init_std: float = 0.1
    """Standard deviation of the embeddings at first."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")
        if self.history_length < 0:
            raise ValueError(f"history_length must not be negative, got {self.history_length}")
        unknown = sorted(set(self.history_actions) - set(ACTIONS))
        if unknown or not self.history_actions:
            raise ValueError(
                f"history_actions must name canonical actions, got {list(self.history_actions)}; there are {', '.join(ACTIONS)}"
            )
        if not self.user_id and not self.history_length:
            raise ValueError(
                "a user needs an id embedding or a history: user_id=false and history_length=0 leave nothing"
            )
        for name in ("user_hidden", "item_hidden"):
            if any(width < 1 for width in getattr(self, name)):
                raise ValueError(f"hidden layers must be at least 1 wide, got {name}={getattr(self, name)}")
        if not self.init_std > 0:
            raise ValueError(f"init_std must be above 0, got {self.init_std}")

    @property
    def vector_width(self) -> int:
        """Width of the vectors of users and items, and so of the index."""
        return self.width + int(self.popularity)

    @property
    def history_codes(self) -> tuple[int, ...]:
        """Codes of `history_actions`, as timelines hold them."""
        return tuple(sorted(ACTION_CODE[action] for action in self.history_actions))


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveConfig:
    """The sampled softmax and how its batches are drawn."""

    temperature: float = 0.1
    """Divides the cosine of user and item."""
    batch_size: int = 2048
    """Examples of a batch; each one's item is a negative of the others."""
    uniform_negatives: int = 0
    """Items drawn uniformly from the catalogue as further negatives of the whole batch (mixed negative sampling)."""
    correct_positive: bool = True
    """Whether logQ is subtracted from the positive's own logit too."""
    discovery: bool = False
    """Whether what a user had already done with a positive's item is hidden from that example's history. The model then
    learns to find what is new to a user, not to bring back its own carts and views."""
    spared_actions: tuple[str, ...] = ()
    """Actions of the history whose items are no negatives of their user. Where what was bought is left out of the answer,
    naming "checkout" keeps the model from learning to rank it low, which its place in the history works against."""
    id_dropout: float = 0.1
    """Share of items and users whose own id embedding is left out of a step, so that the model learns to do without. An
    item of which nothing but its id is known always keeps it."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")
        if self.batch_size < 2:
            raise ValueError(
                f"batch_size must be at least 2, got {self.batch_size}: one example alone has no negatives"
            )
        if self.uniform_negatives < 0:
            raise ValueError(f"uniform_negatives must not be negative, got {self.uniform_negatives}")
        unknown = sorted(set(self.spared_actions) - set(ACTIONS))
        if unknown:
            raise ValueError(
                f"spared_actions must name canonical actions, got {unknown}; there are {', '.join(ACTIONS)}"
            )
        if not 0 <= self.id_dropout < 1:
            raise ValueError(f"id_dropout must lie in [0, 1), got {self.id_dropout}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalConfig:
    """The two-tower model as a whole."""

    tower: TowerConfig = field(default_factory=TowerConfig)
    """The towers."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """What they are trained on."""

    def __post_init__(self) -> None:
        unseen = sorted(set(self.objective.spared_actions) - set(self.tower.history_actions))
        if unseen:
            raise ValueError(
                f"spared_actions must be among history_actions, got {unseen} beside {list(self.tower.history_actions)}: "
                "items are spared by what the history shows"
            )
