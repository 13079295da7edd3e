"""A user's vector at t is made of what lies strictly before t, whatever comes after."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.retrieval.retrieval_samples import FULL, SMALL, Sample, encoder_of, new_model, user_vectors
from tests.retrieval.test_two_tower import stirred

from lowerfunnel.errors import UnavailableError
from lowerfunnel.events.timeline import Timelines
from lowerfunnel.retrieval import encoder as encoder_module
from lowerfunnel.retrieval.encoder import Encoder
from lowerfunnel.retrieval.inputs import ItemInputs
from lowerfunnel.retrieval.settings import RetrievalConfig
from lowerfunnel.retrieval.training_data import item_counters

later_events = st.lists(
    st.tuples(st.integers(0, 48), st.integers(0, 10**13), st.integers(0, 36), st.integers(0, 9)), max_size=30
)


def with_events(timelines: Timelines, later: list[tuple[int, int, int, int]]) -> Timelines:
    user_E = np.repeat(np.arange(timelines.users, dtype=np.int32), np.diff(timelines.offsets_U1))
    user, t, item, action = (np.array([row[column] for row in later], np.int64) for column in range(4))
    return Timelines.build(
        user_E=np.concatenate([user_E, user.astype(np.int32)]),
        t_E=np.concatenate([timelines.t_E, t]),
        item_E=np.concatenate([timelines.item_E, item.astype(np.int32)]),
        action_E=np.concatenate([timelines.action_E, action.astype(np.int8)]),
        users=timelines.users,
        order=timelines.order,
        surface_E=np.concatenate([timelines.surface_E, (item % 3).astype(np.int16)]),
        dwell_E=np.concatenate([timelines.dwell_E, t.astype(np.float32)]),
    )


CONFIGS = pytest.mark.parametrize("config", [SMALL, FULL], ids=["small", "full"])


@CONFIGS
@settings(max_examples=25, deadline=None)
@given(st.data(), later_events)
def test_events_at_or_after_the_moment_never_change_a_vector(
    tastes: Sample, config: RetrievalConfig, data: st.DataObject, later: list[tuple[int, int, int, int]]
) -> None:
    corpus = tastes.corpus
    encoder = encoder_of(corpus, stirred(new_model(corpus, config)))
    # The moments of events themselves are the likeliest to leak.
    t = data.draw(st.sampled_from(sorted(set(corpus.known.t_E.tolist()))))
    added = replace(corpus, known=with_events(corpus.known, [(u, t + after, i, a) for u, after, i, a in later]))
    users = list(range(len(corpus.users)))
    np.testing.assert_array_equal(user_vectors(corpus, encoder, users, t=t), user_vectors(added, encoder, users, t=t))


@CONFIGS
def test_an_event_just_before_the_moment_changes_its_users_vector_alone(
    tastes: Sample, config: RetrievalConfig
) -> None:
    corpus = tastes.corpus
    encoder = encoder_of(corpus, stirred(new_model(corpus, config)))
    t = int(corpus.known.t_E.max())
    added = replace(corpus, known=with_events(corpus.known, [(7, t - 1, 3, 7)]))
    users = list(range(len(corpus.users)))
    differs = (user_vectors(corpus, encoder, users, t=t) != user_vectors(added, encoder, users, t=t)).any(axis=1)
    assert np.flatnonzero(differs).tolist() == [7]


@CONFIGS
def test_blocks_change_nothing(tastes: Sample, monkeypatch: pytest.MonkeyPatch, config: RetrievalConfig) -> None:
    corpus = tastes.corpus
    model = stirred(new_model(corpus, config))
    whole = encoder_of(corpus, model)
    users = [-1, *range(len(corpus.users))]
    expected = whole.items(), user_vectors(corpus, whole, users)
    monkeypatch.setattr(encoder_module, "_BLOCK", 7)
    parts = encoder_of(corpus, model)
    np.testing.assert_allclose(parts.items(), expected[0], atol=1e-6)
    np.testing.assert_allclose(user_vectors(corpus, parts, users), expected[1], atol=1e-6)


def test_encoding_leaves_the_model_in_the_mode_it_was_in(tastes: Sample) -> None:
    corpus = tastes.corpus
    model = new_model(corpus)
    for training in (True, False):
        model.train(training)
        user_vectors(corpus, encoder_of(corpus, model), [0])
        assert model.training is training


def test_an_encoder_of_another_head_gives_that_heads_vectors(tastes: Sample) -> None:
    corpus = tastes.corpus
    two_heads = replace(FULL, objective=replace(FULL.objective, heads="multi"))
    model = stirred(new_model(corpus, two_heads)).eval()
    counters_IF = item_counters(corpus, two_heads, testing=True)
    encoder = Encoder(model, corpus.item_features, counters_IF, task="engagement")
    items = ItemInputs.of(corpus.item_features, np.arange(len(corpus.items)))
    with torch.no_grad():
        parts = model.item_parts(items)
        x_UD = model.item_input(parts)
        expected = model.item_tower(
            parts, x_UD, counters_CF=torch.from_numpy(counters_IF), log_share_C=items.log_share_U
        )
    np.testing.assert_allclose(encoder.item_inputs(), x_UD.numpy(), atol=1e-6)
    np.testing.assert_allclose(encoder.items(), expected["engagement"].numpy(), atol=1e-6)
    users = list(range(5))
    served_BE = user_vectors(corpus, encoder_of(corpus, model), users)
    assert np.abs(user_vectors(corpus, encoder, users) - served_BE).max() > 0.1
    with pytest.raises(UnavailableError, match='no head "engagement", only conversion'):
        Encoder(
            new_model(corpus), corpus.item_features, np.zeros((len(corpus.items), 0), np.float32), task="engagement"
        )


def test_nobody_asking_gets_no_vectors(tastes: Sample) -> None:
    corpus = tastes.corpus
    assert user_vectors(corpus, encoder_of(corpus, new_model(corpus)), []).shape == (0, 16)
