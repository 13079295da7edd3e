"""What a request adds to the user's side: its surface, its subject and its words, by the formula."""

from dataclasses import replace

import numpy as np
import torch
from tests.retrieval.retrieval_samples import FULL, Sample, batch_source, encoder_of, new_model, user_vectors
from tests.retrieval.test_two_tower import stirred

from lowerfunnel.retrieval.settings import ContextConfig, ObjectiveConfig
from lowerfunnel.retrieval.two_tower import SERVED

ASKING = replace(
    FULL,
    context=ContextConfig(subject=True, query=True, dropout=0.0),
    objective=ObjectiveConfig(batch_size=64, id_dropout=0.0),
)


def test_subject_and_words_are_parts_of_their_own(served: Sample) -> None:
    corpus = served.corpus
    model = stirred(new_model(corpus, ASKING)).eval()
    source = batch_source(corpus, ASKING)
    batch = source.batch(0, 0)
    x_UD = model.item_input(model.item_parts(batch.items)).detach()
    parts = model.user_parts(batch.users, x_UD, dropout=None)
    assert len(parts) == model.user_parts.count
    subject_RD, word_RD, surface_RD = parts[-2], parts[-1], parts[-3]
    encoder = encoder_of(corpus, model)
    requests = source.examples.take(source.example_index(0, 0)).requests
    gate = model.user_parts.subject_gate
    assert gate is not None
    tables = {name: table.weight for name, table in model.embedding_tables().items()}
    kinds = set()
    for place, row in enumerate(batch.row_B.tolist()):
        subject, surface = int(requests.subject_R[place]), int(requests.surface_R[place])
        words = requests.word_T[requests.word_offsets_R1[place] : requests.word_offsets_R1[place + 1]].tolist()
        kinds.add((subject >= 0, bool(words)))
        none_D = torch.zeros(16)
        input_D = encoder._x_ID[subject] * gate if subject >= 0 else none_D
        torch.testing.assert_close(subject_RD[row], input_D, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(word_RD[row], tables["word"][words].mean(dim=0) if words else none_D)
        torch.testing.assert_close(surface_RD[row], tables["surface"][surface])
    assert kinds == {(True, False), (False, True), (False, False)}


def test_a_request_is_encoded_in_training_as_it_is_when_it_is_answered(served: Sample) -> None:
    corpus = served.corpus
    model = stirred(new_model(corpus, ASKING)).eval()
    source = batch_source(corpus, ASKING)
    batch = source.batch(0, 0)
    with torch.no_grad():
        x_UD = model.item_input(model.item_parts(batch.items))
        trained_RD = model.user_tower(batch.users, x_UD)[SERVED][batch.row_B].numpy()
    chosen = source.examples.take(source.example_index(0, 0))
    answered_BD = encoder_of(corpus, model).users(
        chosen.user_X,
        chosen.t_X,
        timelines=corpus.training,
        features=corpus.user_features,
        trained_U=corpus.trained_U,
        requests=chosen.requests,
    )
    np.testing.assert_allclose(trained_RD, answered_BD, atol=1e-5)
    # Nothing of the request known is another answer.
    ahead_BD = user_vectors(corpus, encoder_of(corpus, model), chosen.user_X.tolist(), t=chosen.t_X.tolist())
    assert (np.abs(ahead_BD - answered_BD).max(axis=1) > 1e-3).all()
