"""Two servers over one state folder and one store: what came through one is in the answers of the other."""

import shutil
import threading
import time
from datetime import UTC, datetime

import pytest

AT = "2030-01-01T00:00:00Z"
NEW = 10**9

pytestmark = pytest.mark.slow


def seconds_until(true, timeout_s):
    began_s = time.monotonic()
    while not true():
        assert time.monotonic() - began_s < timeout_s
        time.sleep(0.02)
    return time.monotonic() - began_s


def found(server, item_id):
    return bool(server.candidates(filters={"items": {"allow": [item_id]}})["candidates"])


def test_two_servers_share_items_events_and_versions(serve, state, users, log):
    sellers = sorted(set(log.advertiser_id_I.to_pylist()))
    with serve(state) as one, serve(state) as other:
        # An item, its end, and a budget.
        put = {"items": [{"item_id": NEW, "advertiser_id": sellers[0], "price": 9.5, "title": "new"}]}
        assert one.call("PUT", "/v1/items", put)[0] == 200
        assert found(one, NEW)
        took_s = [seconds_until(lambda: found(other, NEW), 2.0)]
        for state_of_budget in (False, True):
            body = {"advertisers": {sellers[0]: {"has_budget": state_of_budget}}}
            assert other.call("POST", "/v1/eligibility", body)[0] == 200
            assert found(other, NEW) is state_of_budget
            took_s.append(seconds_until(lambda wanted=state_of_budget: found(one, NEW) is wanted, 2.0))
        assert other.call("DELETE", "/v1/items", {"item_ids": [NEW]})[0] == 200
        took_s.append(seconds_until(lambda: not found(one, NEW), 2.0))
        # An event is in the next answer of both, and counts once.
        event = {
            "event_id": "shared", "ts": datetime.now(UTC).isoformat(), "user_id": 10**12, "item_id": log.item_id_I[0],
            "action": "click",
        }  # fmt: skip
        assert one.statuses_of_events([event]) == ["accepted"]
        assert other.candidates(user_id=10**12)["known_user"]
        assert other.statuses_of_events([event]) == ["duplicate"]
        # A publication, and a rollback.
        published_before = None
        for through, follower, call in (
            (one, other, lambda: one.publish("second")),
            (other, one, lambda: other.call("POST", "/v1/admin/rollback")),
        ):
            status, answer = call()
            assert status == 200, answer
            assert through.candidates()["version"] == answer["version"]
            published_before = published_before or answer["version"]
            seconds_until(lambda at=follower, v=answer["version"]: at.candidates()["version"] == v, 60.0)
            asked = {"user_id": users[0], "at": AT}
            assert one.candidates(**asked)["candidates"] == other.candidates(**asked)["candidates"]
        # Both at once, of a version that has to be built.
        shutil.rmtree(state / "versions" / published_before)
        results, barrier = [], threading.Barrier(2)

        def publish(server, name):
            barrier.wait()
            results.append(server.publish(name))

        threads = [
            threading.Thread(target=publish, args=arguments) for arguments in ((one, "second"), (other, "second"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        results.sort(key=lambda result: result[0])
        assert [status for status, _ in results] == [200, 409], results
        assert "another publication is under way" in results[1][1]["error"]["message"]
        published = results[0][1]["version"]
        seconds_until(lambda: {s.candidates()["version"] for s in (one, other)} == {published}, 60.0)
        assert one.call("POST", "/v1/admin/rollback")[0] == 200
    print(f"seconds until the other server followed: {', '.join(f'{s:.2f}' for s in took_s)}")
