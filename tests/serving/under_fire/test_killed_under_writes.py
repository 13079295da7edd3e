"""kill -9 under load of writes: what was acknowledged is there after the restart, and what was not touched answers the same."""

import asyncio
import shutil

import numpy as np
import pytest

from lowerfunnel.serving.metrics import ServerMetrics
from lowerfunnel.serving.recent import RecentAnswers
from lowerfunnel.serving.requests import CandidateRequest
from lowerfunnel.serving.server import Runs, load_server_config, start_engine
from lowerfunnel.serving.store.open import open_store

AT = "2030-01-01T00:00:00Z"
AT_US = 1_893_456_000_000_000
FIRST_NEW = 10**9


def offline(state, run, asked):
    """What an engine in this process answers from a state folder: its candidates by user."""
    store = open_store(str(state / "store.sqlite"))
    config = load_server_config(
        None, ["engine.request_log.share=0", "engine.probe.every_s=0", "engine.store.timeout_ms=2000"]
    )
    engine = start_engine(
        run, state, store, config, runs=Runs(folder=run.parent), metrics=ServerMetrics(), recent=RecentAnswers(),
        told=lambda _: None,
    )  # fmt: skip
    try:
        return {
            user: engine.candidates(
                [CandidateRequest(request_id="r", k=20, user_id=user, at_us=AT_US, deadline_ms=5000.0)]
            )[0].candidates
            for user in asked
        }
    finally:
        engine.close()
        store.close()


def plain(candidates):
    """Ids and scores, of an answer over HTTP."""
    return [(found["item_id"], found["score"]) for found in candidates]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_whatever_was_acknowledged_is_there_after_kill_9(serve, load, log, users, state, run, tmp_path, seed):
    from load_generator.run import run_load
    from load_generator.writers import BudgetWriter, EventWriter, ItemWriter

    generator = np.random.default_rng(seed)
    advertisers = sorted(set(log.advertiser_id_I.to_pylist()))
    # Half of the advertisers and of the users are left alone: what is about them alone must not change at all.
    quiet_users, written_users = users[::2], users[1::2]
    quiet_sellers, written_sellers = advertisers[::2], advertisers[1::2]
    quiet = {"items": {"allow": log.item_id_I}, "advertisers": {"allow": quiet_sellers}}
    models = [{"advertiser_id": name, "price": 9.5, "title": "new"} for name in written_sellers]
    events = EventWriter(written_users, log.item_id_I, np.random.default_rng((seed, 1)), prefix=f"s{seed}-", batch=3)
    items = ItemWriter(models, np.random.default_rng((seed, 2)), first_id=FIRST_NEW)
    budgets = BudgetWriter(written_sellers, np.random.default_rng((seed, 3)), batch=2)
    until_kill_s = float(generator.uniform(0.3, 1.5))

    def quiet_answers(server):
        return [plain(server.candidates(user_id=user, at=AT, filters=quiet)["candidates"]) for user in quiet_users[:5]]

    with serve(state) as server:
        before = quiet_answers(server)

        async def kill():
            await asyncio.sleep(until_kill_s)
            await asyncio.to_thread(server.kill)

        def writes(writer, rate_per_s, connections):
            return run_load(
                server.server.host, server.server.port, writer.requests(), rate_per_s, until_kill_s + 0.2, connections,
                on_answer=writer.note, timeout_s=1.0,
            )  # fmt: skip

        load(writes(events, 100, 4), writes(items, 20, 2), writes(budgets, 10, 1), kill())
    assert events.acknowledged
    shutil.copytree(state, tmp_path / "copy")
    with serve(state) as server:
        # The same from two starts of the same files, those with half of the changes included.
        asked = [*written_users[:3], quiet_users[0]]
        expected = offline(tmp_path / "copy", run, asked)
        for user in asked:
            found = server.candidates(user_id=user, at=AT)["candidates"]
            assert [one["item_id"] for one in found] == [one.item_id for one in expected[user]]
            assert [one["score"] for one in found] == pytest.approx([one.score for one in expected[user]], abs=1e-5)
        assert quiet_answers(server) == before
        # Every event is known, so none is lost; and counted once.
        again = [events.sent[event_id] for event_id in events.acknowledged]
        assert server.statuses_of_events(again) == ["duplicate"] * len(again)
        for item_id in items.acknowledged:
            advertiser = items.sent[item_id]["advertiser_id"]
            if advertiser not in budgets.pending:
                found = server.candidates(filters={"items": {"allow": [item_id]}})["candidates"]
                assert len(found) == int(budgets.acknowledged.get(advertiser, True)), (item_id, advertiser)
    print(
        f"seed {seed}: killed after {until_kill_s:.2f} s, {len(again)} events, {len(items.acknowledged)} items and "
        f"{len(budgets.acknowledged)} budgets acknowledged, all there"
    )
