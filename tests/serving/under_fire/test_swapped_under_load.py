"""A hundred version swaps under load, over HTTP: no request fails, no answer mixes versions, no memory is kept."""

import asyncio
import json
import time

import pytest

AT = "2030-01-01T00:00:00Z"
SWAPS = 100
MOST_GROWTH_MB = 60.0
"""Kept versions would be some hundred MB."""


@pytest.mark.slow
def test_a_hundred_swaps_under_load_fail_no_request_mix_no_versions_and_keep_none(serve, load, users, state):
    from load_generator.connection import LoadRequest
    from load_generator.run import run_load

    asked, expected = users[:10], {}
    with serve(state) as server:
        for _ in range(2):
            for user in asked:
                answer = server.candidates(user_id=user, at=AT)
                expected[user, answer["version"]] = {one["item_id"]: one["score"] for one in answer["candidates"]}
            assert server.publish("second")[0] == 200
        assert len({version for _, version in expected}) == 2
        seen, swapped, resident_mb = set(), 0, []

        def requests():
            place = 0
            while swapped < SWAPS:
                user = asked[place % len(asked)]
                place += 1
                body = {"k": 20, "deadline_ms": 5000, "user_id": user, "at": AT}
                yield LoadRequest("/v1/candidates", json.dumps(body).encode(), about=user)

        def check(request, status, body, latency_ms):
            if status != 200:
                return f"status {status}"
            answer = json.loads(body)
            seen.add(answer["version"])
            held = expected[request.about, answer["version"]]
            found = {one["item_id"]: one["score"] for one in answer["candidates"]}
            if answer["degraded"] or found.keys() != held.keys():
                return "an answer that its version does not give"
            if max(abs(held[item] - score) for item, score in found.items()) > 1e-4:
                return "scores that its version does not give"
            return None

        async def swap():
            nonlocal swapped
            while swapped < SWAPS:
                path, body = ("rollback", None) if swapped % 2 == 0 else ("publish", {"run": "second"})
                status, answer = await asyncio.to_thread(server.call, "POST", f"/v1/admin/{path}", body)
                assert status == 200, answer
                swapped += 1
                resident_mb.append(server.server.usage().rss_mb)

        began_s = time.monotonic()
        result, _ = load(
            run_load(
                server.server.host, server.server.port, requests(), 40, 3000.0, 4, on_answer=check, timeout_s=60.0
            ),
            swap(),
        )  # fmt: skip
    warm_mb = max(resident_mb[:20])
    print(
        f"{SWAPS} swaps in {time.monotonic() - began_s:.0f} s, {len(result)} requests, {result.failed} failed, "
        f"complaints {result.complaints}; resident {resident_mb[0]:.0f} MB, {warm_mb:.0f} after 20, {resident_mb[-1]:.0f} "
        f"at the end\n{result}"
    )
    assert swapped == SWAPS
    assert len(seen) == 2
    assert len(result) > 100
    assert result.complaints == {}
    assert result.failed == 0
    assert resident_mb[-1] - warm_mb < MOST_GROWTH_MB
