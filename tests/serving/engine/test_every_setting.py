"""Settings of the engine that no other file turns: each changes what is answered, measured or kept."""

import threading
import time

import numpy as np
import pytest

from lowerfunnel.serving.engine import probe as probe_module
from lowerfunnel.serving.engine import request_log as request_log_module
from lowerfunnel.serving.engine.request_log import RequestLog
from lowerfunnel.serving.records import ItemRecord
from lowerfunnel.serving.requests import CandidateRequest, Choice, Filters
from lowerfunnel.serving.settings import RequestLogConfig
from lowerfunnel.serving.store.open import open_store

ONLY_FIVE = Filters(items=Choice(allow=frozenset({5})))


def ask(engine, k=10, **options):
    return engine.candidates([CandidateRequest(request_id="r", k=k, **options)])[0]


def found_within(engine, seconds):
    until_s = time.monotonic() + seconds
    while not ask(engine, filters=ONLY_FIVE).candidates and time.monotonic() < until_s:
        time.sleep(0.02)
    return bool(ask(engine, filters=ONLY_FIVE).candidates)


@pytest.mark.parametrize(("poll_s", "seen"), [(0.05, True), (600.0, False)])
def test_how_often_changes_of_others_are_looked_for(start, tmp_path, poll_s, seen):
    engine = start(settings=[f"engine.freshness.poll_s={poll_s}"])
    another = open_store(str(tmp_path / "state" / "store.sqlite"))
    another.put_items([ItemRecord(item_id=5)])
    another.close()
    assert found_within(engine, 10.0 if seen else 1.0) == seen


def test_how_often_and_how_deep_answers_are_probed(start, monkeypatch):
    probed, enough = [], threading.Event()

    def measured(index, reference, query_E, k, *, pause):
        probed.append(k)
        if len(probed) == 3:
            enough.set()
        return 1.0

    monkeypatch.setattr(probe_module, "exact_recall", measured)
    engine = start(settings=["engine.probe.every_s=0.02", "engine.probe.k=7"])
    until_s = time.monotonic() + 20.0
    while not enough.wait(0.02) and time.monotonic() < until_s:
        ask(engine)
    assert set(probed) == {7}


def test_recall_is_the_share_of_the_best_that_was_found():
    from lowerfunnel.index.exact import ExactIndex
    from lowerfunnel.index.settings import IndexConfig

    vector_ID = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    narrow = IndexConfig(kind="faiss_ivf", ivf_lists=64, ivf_probes=1).build(vector_ID)
    exact = ExactIndex(vector_ID)
    query_E = vector_ID[0]
    best = set(exact.search(query_E[None], 50).item_QK[0].tolist())
    found = set(narrow.search(query_E[None], 50).item_QK[0].tolist())
    recall = probe_module.exact_recall(narrow, exact, query_E, 50)
    assert recall == pytest.approx(len(best & found) / 50)
    assert recall < 1.0
    assert probe_module.exact_recall(exact, exact, query_E, 50) == 1.0


def latest(folder):
    """Read the latest file; the oldest are removed meanwhile, the latest never is."""
    files = sorted(folder.glob("*.jsonl"))
    return files[-1].read_text() if files else ""


@pytest.mark.parametrize(("most_mb", "files"), [(1, 2), (100, 4)])
def test_how_much_of_the_request_log_is_kept(tmp_path, monkeypatch, most_mb, files):
    monkeypatch.setattr(request_log_module, "_LARGEST_FILE_MB", 1)
    log = RequestLog(tmp_path, RequestLogConfig(share=1.0, most_mb=most_mb), on_error=pytest.fail)
    for number in range(4):
        log.write(lambda number=number: {"number": number, "long": "x" * (1 << 20)})
        until_s = time.monotonic() + 20.0
        while f'"number":{number},' not in latest(tmp_path):
            assert time.monotonic() < until_s
            time.sleep(0.01)
    log.close()
    assert len(list(tmp_path.glob("*.jsonl"))) == files


def test_an_item_that_is_put_over_and_over_is_never_in_an_answer_twice(engine):
    item = engine._live.loaded.records(np.array([0]))[0]
    twice, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            ids = [found.item_id for found in ask(engine, k=1000).candidates]
            if len(set(ids)) < len(ids):
                twice.append(ids)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(60):
        engine.put_items([ItemRecord(**{**{n: getattr(item, n) for n in item.__slots__}, "price": float(number)})])
        if number % 10 == 9:
            engine.delete_items([item.item_id])
    stop.set()
    for reader in readers:
        reader.join()
    assert twice == []
