"""Nothing at or after an example's time reaches it: not by history, activity or counters, however full the model is."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.retrieval.retrieval_samples import FULL, Sample, batch_source
from tests.retrieval.test_batches import same, tensors_of
from tests.retrieval.test_encoder import with_events

from lowerfunnel.retrieval.settings import ContextConfig, NegativesConfig

ALL = replace(
    FULL,
    context=ContextConfig(subject=True, query=True),
    negatives=NegativesConfig(uniform=8, request=2, spared_actions=("checkout",)),
)
later_events = st.lists(
    st.tuples(st.integers(0, 47), st.integers(0, 10**12), st.integers(0, 35), st.integers(0, 9)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 1.0), later_events)
def test_events_at_or_after_the_latest_example_of_a_batch_change_nothing_in_it(
    served: Sample, share: float, later: list[tuple[int, int, int, int]]
) -> None:
    corpus = served.corpus
    by_t = np.argsort(corpus.examples.t_X, kind="stable")
    index = by_t[: max(8, int(share * len(by_t)))][-64:]
    t = int(corpus.examples.t_X[index].max())
    added = replace(
        corpus,
        training=with_events(corpus.training, [(user, t + after, item, action) for user, after, item, action in later]),
    )
    batches = []
    for one in (corpus, added):
        source = batch_source(one, ALL)
        source.example_index = lambda _epoch, _step: index  # type: ignore[method-assign]
        batches.append(source.batch(0, 0))
    assert same(*batches)


def test_an_event_just_before_an_example_is_in_its_history_and_activity(served: Sample) -> None:
    """So that the law above can fail: what is a moment earlier does arrive."""
    corpus = served.corpus
    index = np.argsort(corpus.examples.t_X, kind="stable")[-64:]
    t, user = int(corpus.examples.t_X[index].max()), int(corpus.examples.user_X[index][-1])
    found = []
    for after in (-1, 0):
        added = replace(corpus, training=with_events(corpus.training, [(user, t + after, 3, 7)]))
        source = batch_source(added, ALL)
        source.example_index = lambda _epoch, _step: index  # type: ignore[method-assign]
        found.append(source.batch(0, 0).users)
    assert len(found[0].history.place_N) == len(found[1].history.place_N) + 1
    assert not np.array_equal(found[0].activity_RF.numpy(), found[1].activity_RF.numpy())
    assert len(tensors_of(found[0])) == len(tensors_of(found[1]))
