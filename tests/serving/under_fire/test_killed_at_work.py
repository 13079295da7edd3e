"""kill -9 in the middle of a publication, and of the first loading of the log: the next start goes on from there."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

AT = "2030-01-01T00:00:00Z"
KILLS = 10

pytestmark = pytest.mark.slow


def answers(server, asked):
    """Candidates of some users, and the one version that gave them."""
    found = [server.candidates(user_id=user, at=AT) for user in asked]
    assert len({answer["version"] for answer in found}) == 1
    return found[0]["version"], [
        [(candidate["item_id"], candidate["score"]) for candidate in answer["candidates"]] for answer in found
    ]


def test_killed_while_it_publishes_a_server_serves_the_old_version_or_the_new_one_whole(serve, users, state):
    asked, generator = users[:5], np.random.default_rng(0)
    versions = state / "versions"
    with serve(state) as server:
        old, found = answers(server, asked)
        expected = {old: found}
        new = server.publish("second")[1]["version"]
        assert new != old
        expected |= dict([answers(server, asked)])
        _take_back(server, versions / new)
        began_s = time.monotonic()
        assert server.publish("second")[0] == 200
        build_s = time.monotonic() - began_s
        _take_back(server, versions / new)
    moments, outcomes, left = [], [], 0
    for _ in range(KILLS):
        with serve(state) as server:
            version, found = answers(server, asked)
            assert found == expected[version]
            if version == new:
                _take_back(server, versions / new)
            # Every publication but the first finds what the one before has left, up to where that was killed.
            publication = threading.Thread(target=_ignoring_the_end, args=(server.publish, "second"))
            publication.start()
            moments.append(float(generator.uniform(0.0, 1.1)) * build_s)
            time.sleep(moments[-1])
            server.kill()
            publication.join()
        left += any(path.name.startswith(".") for path in versions.iterdir())
        outcomes.append(json.loads((state / "current.json").read_text())["version"])
    with serve(state) as server:
        version, found = answers(server, asked)
        assert version == outcomes[-1]
        assert found == expected[version]  # whole: never the tower of one and the index of the other
        status, published = server.publish("second")
        assert (status, published["version"]) == (200, new)
        assert answers(server, asked) == (new, expected[new])
    assert sorted(path.name for path in versions.iterdir()) == sorted([old, new])
    print(
        f"killed after {', '.join(f'{moment:.2f}' for moment in moments)} s of {build_s:.2f}: {left} half built, "
        f"{outcomes.count(old)} times the old version, {outcomes.count(new)} times the new one"
    )
    assert left > 0
    assert set(outcomes) <= {old, new}


def _take_back(server, folder):
    """Serve the version before, and remove the folder, for the version to be built again from nothing."""
    assert server.call("POST", "/v1/admin/rollback")[0] == 200
    shutil.rmtree(folder)


def _ignoring_the_end(call, *arguments):
    with contextlib.suppress(OSError):  # it was killed before it could answer
        call(*arguments)


@pytest.mark.parametrize("seed", range(3))
def test_killed_while_it_loads_the_log_a_server_loads_the_rest_and_each_event_once(serve, run, users, state, seed):
    whole = _timelines(state / "store.sqlite")
    for name in ("store.sqlite", "loaded.json"):
        (state / name).unlink()
    wanted = int(np.random.default_rng(seed).integers(1, int(0.9 * len(whole))))
    # The log of a test is small, and would be stored by one call.
    program = (
        "import sys, lowerfunnel.serving.store.load as load; load._PER_CALL = 40; "
        "from lowerfunnel.cli.main import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "serve", str(run), "--state", str(state), "--port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        while (stored := _stored(state / "store.sqlite")) < wanted:
            assert process.poll() is None
            time.sleep(0.001)
    finally:
        process.kill()
        process.wait()
    stored = _stored(state / "store.sqlite")
    assert wanted <= stored < len(whole)
    assert not (state / "loaded.json").exists()
    with serve(state) as server:
        assert _timelines(state / "store.sqlite") == whole
        assert server.candidates(user_id=users[0])["known_user"]
    assert json.loads((state / "loaded.json").read_text())
    print(f"seed {seed}: killed with {stored} of {len(whole)} events stored; all there, each once")


def _stored(path):
    if not path.exists():
        return 0
    connection = sqlite3.connect(path, timeout=30)
    try:
        return connection.execute("SELECT count(*) FROM timelines").fetchone()[0]
    except sqlite3.OperationalError:
        return 0  # its tables are being made
    finally:
        connection.close()


def _timelines(path):
    """Everything stored of users, in order, without the numbers of arrival, which an interruption may shift."""
    connection = sqlite3.connect(path, timeout=30)
    try:
        query = "SELECT user_id, ts_us, numbers, texts, rest FROM timelines ORDER BY user_id, ts_us, arrival"
        return connection.execute(query).fetchall()
    finally:
        connection.close()
