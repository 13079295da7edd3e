"""What the settings of quantised lists and of search threads change."""

import numpy as np
import pytest

from lowerfunnel.index.settings import IndexConfig

VECTORS = np.random.default_rng(0).normal(size=(4000, 16)).astype(np.float32)


def recall(config: IndexConfig) -> float:
    index = config.build(VECTORS)
    query_QD = np.random.default_rng(1).normal(size=(50, 16)).astype(np.float32)
    # Into all lists, so that the codes alone decide; a plain search of all lists would be an exact one.
    found, exact = index.search_with_width(query_QD, 10, 16).item_QK, index.exact.search(query_QD, 10).item_QK
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist(), strict=True)]))


def quantised(**settings) -> IndexConfig:
    return IndexConfig(kind="faiss_ivfpq", ivf_lists=16, ivf_probes=16, **settings)


def test_more_candidates_compared_whole_find_more():
    assert recall(quantised(ivfpq_bytes=2, ivfpq_refine=1)) < recall(quantised(ivfpq_bytes=2, ivfpq_refine=16))


def test_more_bytes_a_vector_find_more():
    assert recall(quantised(ivfpq_bytes=1, ivfpq_refine=2)) < recall(quantised(ivfpq_bytes=16, ivfpq_refine=2))


@pytest.mark.parametrize("threads", [1, 2])
def test_searches_take_the_threads_that_they_are_given_and_answer_the_same(threads):
    index = IndexConfig(kind="faiss_ivf", ivf_lists=16, ivf_probes=16, search_threads=threads).build(VECTORS)
    assert index.search_threads == threads
    alone = IndexConfig(kind="faiss_ivf", ivf_lists=16, ivf_probes=16).build(VECTORS)
    assert (index.search(VECTORS[:20], 5).item_QK == alone.search(VECTORS[:20], 5).item_QK).all()
