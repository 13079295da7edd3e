"""What a model is trained on and asked with, from a corpus and its settings; what the log cannot give is said here.

Shape letters: I items, F width of the counters.
"""

import numpy as np
import numpy.typing as npt

from lowerfunnel.errors import TrainingError, UnavailableError
from lowerfunnel.features.activity import activity_names
from lowerfunnel.features.counters import COUNTER_NAMES, DailyCounters
from lowerfunnel.retrieval.batches import BatchSource, TrainingData
from lowerfunnel.retrieval.corpus import Corpus
from lowerfunnel.retrieval.examples import TASKS
from lowerfunnel.retrieval.groups import groups_of
from lowerfunnel.retrieval.settings import RetrievalConfig
from lowerfunnel.retrieval.sizes import TableSizes

Float32Array = npt.NDArray[np.float32]
_SHOWN = 5


def require_available(corpus: Corpus, config: RetrievalConfig) -> None:
    """Make sure that the log holds what the settings ask for.

    Raises:
        UnavailableError: If it does not; the sentence names the setting and what is missing.
        TrainingError: If a head would have no example at all to learn from.
    """
    examples, context, negatives = corpus.examples, config.context, config.negatives
    order = corpus.training.order
    if context.subject and not (examples.requests.subject_R >= 0).any():
        raise UnavailableError(_missing("context.subject", "example has a context_item_id", "context_item_id"))
    if context.query and not len(examples.requests.word_T):
        raise UnavailableError(_missing("context.query", "example has a query", "query"))
    for name, wanted in (("hard", negatives.hard), ("request", negatives.request)):
        if wanted and not len(corpus.ignored):
            raise UnavailableError(
                f"retrieval.negatives.{name} is {wanted}, and no ignored ads are listed; set labels.ignored to true "
                f"(it needs impressions that were passed over), or retrieval.negatives.{name} to 0"
            )
    if negatives.request and not (examples.ignored_X >= 0).any():
        raise UnavailableError(
            f"retrieval.negatives.request is {negatives.request}, and no example came from a request with ignored ads; map "
            "request_id, set labels.touch_window_h so that conversions take their touch's request, or "
            "retrieval.negatives.request to 0"
        )
    if config.tower.counters and order != "time":
        raise UnavailableError(
            f'retrieval.tower.counters needs a log with times, and this one is ordered by "{order}"; set it to false'
        )
    if config.tower.activity and order == "none":
        raise UnavailableError(
            "retrieval.tower.activity needs a log with order: without, what is to be predicted would be counted; "
            "set it to false"
        )
    if config.objective.heads == "multi":
        for code, task in enumerate(TASKS):
            if config.objective.task_weight(task) and not (examples.task_X == code).any():
                raise TrainingError(
                    f'retrieval.objective.heads is "multi", and training has no {task} to teach its head with; set it to '
                    f'"unified", or give {task}s a weight in labels.weights'
                )


def training_data(corpus: Corpus, config: RetrievalConfig) -> TrainingData:
    """Return what batches are made of.

    Raises:
        UnavailableError: If the log does not hold what the settings ask for.
    """
    require_available(corpus, config)
    group_I = np.full(len(corpus.items), -1, np.int32)
    if config.group_loss.weight:
        group_I = groups_of(corpus.item_features, corpus.vocabularies, config.group_loss.by)
    return TrainingData(
        examples=corpus.examples,
        timelines=corpus.training,
        items=corpus.item_features,
        users=corpus.user_features,
        counters=daily_counters(corpus, testing=False) if config.tower.counters else None,
        ignored=corpus.ignored,
        group_I=group_I,
    )


def daily_counters(corpus: Corpus, *, testing: bool) -> DailyCounters:
    """Return how items performed day by day, of all that testing, or training and validation, may know.

    An event that is held out is not counted, so not even one whose user is asked for at a time of its own.
    """
    known = corpus.known.until(corpus.test_until_U) if testing else corpus.training.until(corpus.validation_until_U)
    return DailyCounters.build(known.item_E, known.t_E, known.action_E, items=len(corpus.items))


def item_counters(corpus: Corpus, config: RetrievalConfig, *, testing: bool) -> Float32Array:
    """Return how all items had performed before the day of the test, or of the validation, [I, F].

    F is 0 for a model that does not look.
    """
    items = len(corpus.items)
    if not config.tower.counters:
        return np.zeros((items, 0), np.float32)
    at = corpus.test_at if testing else corpus.validation_at
    counters = daily_counters(corpus, testing=testing)
    return counters.at(np.arange(items, dtype=np.int32), np.full(items, at, np.int64))


def table_sizes(corpus: Corpus, config: RetrievalConfig, data: TrainingData) -> TableSizes:
    """Return the rows of each embedding table and the widths of the feature vectors."""
    items, vocabularies, tower = corpus.item_features, corpus.vocabularies, config.tower
    return TableSizes(
        users=len(corpus.users),
        items=len(items),
        advertisers=len(vocabularies.advertiser),
        categories=len(vocabularies.category),
        category_paths=len(vocabularies.category_path),
        item_attributes=len(vocabularies.item_attribute),
        user_attributes=len(vocabularies.user_attribute),
        surfaces=len(vocabularies.surface),
        words=len(corpus.words),
        groups=int(data.group_I.max(initial=-1)) + 1,
        price_buckets=int(items.price_bucket_I.max(initial=0)),
        content_width=items.content_IC.shape[1],
        visual_width=items.visual_IV.shape[1],
        counters_width=len(COUNTER_NAMES) if tower.counters else 0,
        activity_width=len(activity_names(corpus.training.order)) if tower.activity else 0,
    )


def describe_examples(corpus: Corpus, batches: BatchSource, epoch: int, step: int) -> str:
    """Return the users and items of a batch by their source ids, the first few of them."""
    chosen = batches.examples.take(batches.example_index(epoch, step))
    users = corpus.users.decode(chosen.user_X[:_SHOWN]).to_pylist()
    items = corpus.items.decode(chosen.item_X[:_SHOWN]).to_pylist()
    pairs = ", ".join(f"{user} on {item}" for user, item in zip(users, items, strict=True))
    return f"{len(chosen):,} examples, the first of them {pairs} (user on item)"


def _missing(setting: str, what: str, column: str) -> str:
    return (
        f"retrieval.{setting} is on, and no training {what} (column {column}); map the column, set "
        f"labels.touch_window_h so that conversions take their touch's request, or set retrieval.{setting} to false"
    )
