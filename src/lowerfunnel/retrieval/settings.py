"""Settings of the two-tower model and of its objective."""

from dataclasses import dataclass, field
from typing import Literal

from lowerfunnel.events.schema import ACTION_CODE, ACTIONS

Arrangement = Literal["parallel", "stacked", "mlp", "cross", "none"]
CrossKind = Literal["full", "low_rank", "mixture"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerConfig:
    """Sizes and parts of the two towers."""

    width: int = 64
    """Width of every embedding and of the towers' output."""
    arrangement: Arrangement = "parallel"
    """What stands between a tower's features and its head: a DCN-V2 cross network and an MLP side by side on the same
    input ("parallel"), the MLP on the cross network ("stacked"), one of them alone ("mlp", "cross"), or nothing
    ("none"): a vector is then the sum of its parts."""
    cross_layers: int = 2
    """Layers of the cross network; the features meet each other in degrees up to one more."""
    cross_kind: CrossKind = "low_rank"
    """Weights of a cross layer: a full matrix, two narrow ones, or a gated mixture of narrow ones."""
    cross_rank: int = 64
    """Width of the narrow matrices ("low_rank", "mixture")."""
    cross_experts: int = 4
    """How many narrow ones a "mixture" chooses from."""
    hidden: tuple[int, ...] = (256, 128, 64)
    """Widths of the MLP's layers."""
    head_hidden: tuple[int, ...] = ()
    """Hidden layers of the head, which turns the body's output into the vector."""
    residual: bool = True
    """Whether the head's output is added to the sum of the parts, starting from nothing, or replaces it."""
    user_id: bool = True
    """Whether a user has an embedding of its own beside what is known of it."""
    item_id: bool = True
    """Whether an item has an embedding of its own beside its side features."""
    category_separator: str | None = None
    """What divides a category id into a path, such as " > "; an item then has every category above its own too."""
    counters: bool = False
    """Whether an item's tower sees how it performed: shown, clicked, put into carts and bought in the last 7 and 28 days,
    as of the day before."""
    activity: bool = False
    """Whether a user's tower sees how much of what it did in the last 1, 7 and 30 days and ever."""
    popularity: bool = False
    """Whether an item's score starts from how much it was converted on: one more coordinate of its vector holds the
    logarithm of its share of the training examples by weight, and one of the user's a learned weight. A cosine alone has
    to spend its width to say that an item is popular."""
    init_std: float = 0.1
    """Standard deviation of the embeddings at first."""

    def __post_init__(self) -> None:
        for name in ("width", "cross_layers", "cross_rank", "cross_experts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("hidden", "head_hidden"):
            if any(width < 1 for width in getattr(self, name)):
                raise ValueError(f"layers must be at least 1 wide, got {name}={getattr(self, name)}")
        if self.arrangement in ("parallel", "stacked", "mlp") and not self.hidden:
            raise ValueError(f'the arrangement "{self.arrangement}" needs an MLP, and hidden names no layer')
        if self.arrangement == "none" and not self.residual:
            raise ValueError('arrangement="none" leaves the sum of the parts alone, and residual=false takes it away')
        if self.category_separator == "":
            raise ValueError(
                'category_separator must hold a character, got ""; leave it out for categories without a path'
            )
        if not self.init_std > 0:
            raise ValueError(f"init_std must be above 0, got {self.init_std}")

    @property
    def vector_width(self) -> int:
        """Width of the vectors of users and items, and so of the index."""
        return self.width + int(self.popularity)


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryConfig:
    """What the user tower makes of what a user did before."""

    length: int = 100
    """How many of a user's latest events are read; 0 turns the history off."""
    actions: tuple[str, ...] = tuple(action for action in ACTIONS if action not in ("impression", "hide", "return"))
    """Actions that make up the history. Impressions say what was shown, not what was wanted, and would crowd out the
    rest; hides and returns say what was not wanted."""
    encoder: Literal["pooling", "transformer"] = "transformer"
    """"pooling": the mean of the events' items, weighted by action, age and surface. "transformer": the same mean over the outputs
    of a Transformer that reads item, action, surface, dwell, time since and order, and the latest output beside it."""
    layers: int = 2
    """Layers of the Transformer."""
    heads: int = 2
    """Heads of its attention; they divide `retrieval.tower.width`."""
    feedforward: int = 128
    """Width of its feedforward layers."""
    dropout: float = 0.1
    """Share of its activations left out in training."""
    entry_dropout: float = 0.0
    """Share of a history's events left out in training, at random, so that no single one is learned by heart."""
    causal: bool = False
    """Whether an event sees only those before it; by default all of the past sees each other."""

    def __post_init__(self) -> None:
        if self.length < 0:
            raise ValueError(f"length must not be negative, got {self.length}")
        unknown = sorted(set(self.actions) - set(ACTIONS))
        if unknown or not self.actions:
            raise ValueError(
                f"actions must name canonical actions, got {list(self.actions)}; there are {', '.join(ACTIONS)}"
            )
        for name in ("layers", "heads", "feedforward"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("dropout", "entry_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")

    @property
    def codes(self) -> tuple[int, ...]:
        """Codes of `actions`, as timelines hold them."""
        return tuple(sorted(ACTION_CODE[action] for action in self.actions))


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextConfig:
    """What the user tower sees of the request itself."""

    surface: bool = True
    """Whether it sees where the request comes from."""
    subject: bool = False
    """Whether it sees the item that the request stands beside (`context_item_id`, related items)."""
    query: bool = False
    """Whether it sees the words of the search."""
    dropout: float = 0.5
    """Share of the training requests that hide all of this, so that the model answers ahead of a request too."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout must lie in [0, 1], got {self.dropout}")


@dataclass(frozen=True, kw_only=True, slots=True)
class NegativesConfig:
    """What the positives are compared with, beside each other, and how that is corrected."""

    uniform: int = 0
    """Items drawn uniformly from the catalogue as negatives of the whole batch (mixed negative sampling)."""
    hard: int = 0
    """Served ads that nobody engaged with, drawn from all of training as negatives of the whole batch. Needs
    `labels.ignored`."""
    request: int = 0
    """At most so many ignored ads of an example's own request, as negatives of that request alone. Needs
    `labels.ignored` and examples with a request."""
    spared_actions: tuple[str, ...] = ()
    """Actions of the history whose items are no negatives of their user. Where what was bought is left out of the answer,
    naming "checkout" keeps the model from learning to rank it low, which its place in the history works against."""
    proposal: Literal["mixture", "source"] = "mixture"
    """Which distribution a candidate is corrected by: that of all sources together, or that of its own one."""
    estimate: Literal["counted", "streaming"] = "counted"
    """Where an item's share of the positives comes from: counts of the whole training log, or the steps between its
    appearances while training goes on."""
    log_q_negative: float = 1.0
    """How much of log q is subtracted from a negative's logit."""
    log_q_positive: float = 1.0
    """How much of it from the positive's own."""
    reweighted: bool = False
    """Whether the positive stays uncorrected and its loss is weighted by one minus its probability, as it is not sampled;
    `log_q_positive` is 0 then."""

    def __post_init__(self) -> None:
        for name in ("uniform", "hard", "request", "log_q_negative", "log_q_positive"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        unknown = sorted(set(self.spared_actions) - set(ACTIONS))
        if unknown:
            raise ValueError(
                f"spared_actions must name canonical actions, got {unknown}; there are {', '.join(ACTIONS)}"
            )
        if self.reweighted and self.log_q_positive != 0:
            raise ValueError(
                f"reweighted=true leaves the positive uncorrected; set log_q_positive to 0, got {self.log_q_positive}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupLossConfig:
    """The advertiser-level loss: a user is matched with who sells, beside what is sold."""

    weight: float = 0.0
    """How much it counts beside the item-level loss; 0 turns it off."""
    form: Literal["table", "mean", "pooled"] = "mean"
    """What a user is compared with: a learned vector of each advertiser ("table"), the mean vector of its items in the
    batch ("mean"), or its items' logits pooled by log-sum-exp ("pooled", without parameters of its own)."""
    by: str = "advertiser"
    """What items are grouped by: "advertiser", "category", or the name of an attribute such as "brand"."""

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"weight must not be negative, got {self.weight}")
        if not self.by:
            raise ValueError('by must be "advertiser", "category" or the name of an attribute, got ""')


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveConfig:
    """The sampled softmax and how its batches are drawn."""

    heads: Literal["unified", "multi"] = "unified"
    """"unified": one vector gets the gradients of both tasks. "multi": a head for conversions and one for engagement over
    shared towers, each with its own softmax; conversions are served."""
    task_weights: dict[str, float] = field(default_factory=lambda: {"conversion": 1.0, "engagement": 1.0})
    """How much each task counts; one at 0 is left out altogether. Within a task, `labels.weights` say how much an
    example counts."""
    temperature: float = 0.1
    """Divides the cosine of user and item."""
    learn_temperature: bool = False
    """Whether the temperature is learned, from there and never below a hundredth."""
    batch_size: int = 2048
    """Examples of a batch; each one's item is a negative of the others."""
    whole_requests: bool = False
    """Whether the examples of one request come in one batch, where the user's side is computed once for all of them."""
    discovery: bool = False
    """Whether what a user had already done with a positive's item is hidden from that example's history. The model then
    learns to find what is new to a user, not to bring back its own carts and views."""
    id_dropout: float = 0.1
    """Share of items and users whose own id embedding is left out of a step, so that the model learns to do without. An
    item of which nothing but its id is known always keeps it."""

    def __post_init__(self) -> None:
        if set(self.task_weights) - {"conversion", "engagement"}:
            raise ValueError(f'task_weights are of "conversion" and "engagement", got {sorted(self.task_weights)}')
        if any(not weight >= 0 for weight in self.task_weights.values()) or not sum(self.task_weights.values()) > 0:
            raise ValueError(f"task_weights must not be negative, and one above 0, got {self.task_weights}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, got {self.temperature}")
        if self.batch_size < 2:
            raise ValueError(
                f"batch_size must be at least 2, got {self.batch_size}: one example alone has no negatives"
            )
        if not 0 <= self.id_dropout < 1:
            raise ValueError(f"id_dropout must lie in [0, 1), got {self.id_dropout}")

    def task_weight(self, task: str) -> float:
        """Return the weight of a task; one that is not named counts 0."""
        return self.task_weights.get(task, 0.0)

    @property
    def learned(self) -> tuple[str, ...]:
        """Return the tasks that count: those of a weight above 0."""
        return tuple(task for task in ("conversion", "engagement") if self.task_weight(task) > 0)

    @property
    def head_names(self) -> tuple[str, ...]:
        """Return the heads by their task: one for all of them if unified."""
        return ("conversion", "engagement") if self.heads == "multi" else ("conversion",)


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalConfig:
    """The two-tower model as a whole."""

    tower: TowerConfig = field(default_factory=TowerConfig)
    """The towers."""
    history: HistoryConfig = field(default_factory=HistoryConfig)
    """What a user did before."""
    context: ContextConfig = field(default_factory=ContextConfig)
    """What is known of a request."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """What they are trained on."""
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    """What the positives are compared with."""
    group_loss: GroupLossConfig = field(default_factory=GroupLossConfig)
    """The advertiser-level loss."""

    def __post_init__(self) -> None:
        unseen = sorted(set(self.negatives.spared_actions) - set(self.history.actions))
        if unseen:
            raise ValueError(
                f"negatives.spared_actions must be among history.actions, got {unseen} beside "
                f"{list(self.history.actions)}: items are spared by what the history shows"
            )
        if not self.tower.user_id and not self.history.length:
            raise ValueError(
                "a user needs an id embedding or a history: tower.user_id=false and history.length=0 leave nothing"
            )
        if self.history.encoder == "transformer" and self.history.length and self.tower.width % self.history.heads:
            raise ValueError(
                f"history.heads must divide tower.width, got {self.history.heads} heads of {self.tower.width}"
            )
        if self.objective.heads == "multi" and self.objective.task_weight("conversion") == 0:
            raise ValueError('heads="multi" serves the conversion head, and task_weights give conversions no weight')
