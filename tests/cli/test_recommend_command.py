"""`lowerfunnel recommend`: what it writes, for whom, as of when, and what it refuses."""

import collections
import csv
import datetime
import gzip
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def recommend(succeed, tmp_path):
    """Recommend with success, and return the rows as a table."""

    def run(folder, users, *options, k=10):
        out = tmp_path / "candidates.parquet"
        ended = succeed("recommend", folder, "--users", users, "--k", k, "--out", out, *options)
        assert ended.out.startswith(f"{out}: ")
        assert ended.out.count("\n") == 1
        assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []
        return pq.read_table(out)

    return run


def lists_of(table):
    lists = collections.defaultdict(list)
    for user, item in zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True):
        lists[user].append(item)
    return dict(lists)


def rows_of_csv(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def events_of(run):
    return pq.read_table(run / "store" / "events", partitioning=None)


def test_the_file_has_the_promised_columns_best_first(recommend, finished, users_file):
    users = pq.read_table(finished / "store" / "users.parquet")["user_id"].combine_chunks()
    table = recommend(finished, users_file(users), k=7)
    assert table.schema.names == ["user_id", "item_id", "rank", "score"]
    assert [str(kind) for kind in table.schema.types] == ["int64", "int64", "int32", "float"]
    assert table["user_id"].to_pylist() == np.repeat(users.to_pylist(), 7).tolist()
    assert table["rank"].to_pylist() == list(range(1, 8)) * len(users)
    score_BK = table["score"].to_numpy().reshape(-1, 7)
    assert (np.diff(score_BK, axis=1) <= 0).all()
    assert all(len(set(items)) == 7 for items in lists_of(table).values())


def test_users_come_in_the_order_of_the_file_and_repeats_once(recommend, finished, users_file):
    users = pq.read_table(finished / "store" / "users.parquet")["user_id"].to_pylist()
    asked = [users[5], users[2], users[5], users[9], users[2]]
    table = recommend(finished, users_file(pa.array(asked)), k=2)
    assert table["user_id"].to_pylist() == [user for user in (users[5], users[2], users[9]) for _ in range(2)]


def test_the_answer_does_not_depend_on_who_else_is_asked_for(recommend, finished, users_file):
    users = pq.read_table(finished / "store" / "users.parquet")["user_id"].combine_chunks()
    whole = lists_of(recommend(finished, users_file(users)))
    assert lists_of(recommend(finished, users_file(users[3:4])))[users[3].as_py()] == whole[users[3].as_py()]


@pytest.mark.parametrize("kind", ["csv", "bom", "tsv", "semicolon", "gz", "int32", "dictionary", "text", "large"])
def test_every_kind_of_users_file_gives_the_same(kind, recommend, finished, users_file, tmp_path):
    users = pq.read_table(finished / "store" / "users.parquet")["user_id"].combine_chunks()[:4]
    expected = lists_of(recommend(finished, users_file(users)))
    texts = [str(user) for user in users.to_pylist()]
    arrays = {
        "int32": users.cast(pa.int32()),
        "dictionary": pa.array(texts).dictionary_encode(),
        "text": pa.array(texts),
        "large": pa.array(texts, pa.large_string()),
    }
    if kind in arrays:
        path = users_file(arrays[kind])
    else:
        delimiter = {"tsv": "\t", "semicolon": ";"}.get(kind, ",")
        lines = [delimiter.join(("name", "user_id", "age"))]
        lines += [delimiter.join((f"n{number}", user, "31")) for number, user in enumerate(texts)]
        content = ("\ufeff" * (kind == "bom") + "\r\n".join(lines) + "\r\n").encode()
        path = tmp_path / {"tsv": "asked.tsv", "gz": "asked.csv.gz"}.get(kind, "asked.csv")
        path.write_bytes(gzip.compress(content) if kind == "gz" else content)
    assert lists_of(recommend(finished, path)) == expected


def test_texts_keep_their_zeros_and_letters(recommend, shop_run, users_file):
    asked = ["0007", "größe", "用户"]
    table = recommend(shop_run, users_file(asked), k=32)
    assert table.schema.field("user_id").type == pa.string()
    assert list(lists_of(table)) == asked
    items = {item for found in lists_of(table).values() for item in found}
    assert items == {f"{number:03d}" for number in range(31)} | {"écharpe"}  # "000" is in the events alone


def test_integers_beyond_2_to_53_stay_what_they_are(tmp_path, succeed, recommend, shop, users_file, fast_report):
    log = shutil.copytree(shop.parent / "log", tmp_path / "log")
    big = {"user_id": 2**53 + 1, "item_id": 2**62 + 1}
    for name in ("events.csv", "test.csv", "items.csv"):
        rows = [
            row
            for row in rows_of_csv(log / name)
            if row.get("user_id", "0").isdecimal() and row["item_id"] != "écharpe"
        ]
        for row in rows:
            row.update({key: str(start + int(row[key])) for key, start in big.items() if key in row})
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        (log / name).write_text("\n".join(lines) + "\n")
    out = tmp_path / "run"
    succeed("run", shop, "--data", log, "--out", out, "--set", "training.epochs=1")
    asked = [str(2**53 + 1), str(2**53 + 2)]
    table = recommend(out, users_file(asked), k=40)
    assert [str(kind) for kind in table.schema.types] == ["int64", "int64", "int32", "float"]
    assert set(lists_of(table)) == {2**53 + 1, 2**53 + 2}
    assert set(table["item_id"].to_pylist()) <= {2**62 + 1 + number for number in range(31)}


def test_k_beyond_the_catalogue_gives_what_there_is(recommend, finished, users_file):
    users = pq.read_table(finished / "store" / "users.parquet")["user_id"].combine_chunks()[:3]
    table = recommend(finished, users_file(users), "--include-purchased", k=10**9)
    items = pq.read_table(finished / "store" / "items.parquet")["item_id"].to_pylist()
    assert {user: sorted(found) for user, found in lists_of(table).items()} == dict.fromkeys(
        users.to_pylist(), sorted(items)
    )


def test_what_was_bought_is_left_out_unless_asked_for(recommend, finished, users_file):
    events = events_of(finished)
    bought = collections.defaultdict(set)
    for user, item, action in zip(
        *(events[name].to_pylist() for name in ("user_id", "item_id", "action")), strict=True
    ):
        if action == "checkout":
            bought[user].add(item)
    items = set(pq.read_table(finished / "store" / "items.parquet")["item_id"].to_pylist())
    users = users_file(pa.array(sorted(bought)))
    assert {user: set(found) for user, found in lists_of(recommend(finished, users, k=80)).items()} == {
        user: items - mine for user, mine in bought.items()
    }
    assert all(
        set(found) == items for found in lists_of(recommend(finished, users, "--include-purchased", k=80)).values()
    )


def test_unknown_users_are_answered_alike_and_counted(succeed, finished, users_file, tmp_path):
    known = pq.read_table(finished / "store" / "users.parquet")["user_id"][0].as_py()
    out = tmp_path / "o.parquet"
    ended = succeed("recommend", finished, "--users", users_file(pa.array([-1, known, 2**60])), "--k", 5, "--out", out)
    assert ended.out == f"{out}: 15 rows for 3 users, 2 of whom the model does not know\n"
    lists = lists_of(pq.read_table(out))
    assert lists[-1] == lists[2**60] != lists[known]


def test_events_at_or_after_the_time_change_nothing(recommend, copy_of_finished, users_file):
    run = copy_of_finished
    users = users_file(pq.read_table(run / "store" / "users.parquet")["user_id"].combine_chunks())
    moment = sorted(events_of(run)["ts"].to_pylist())[len(events_of(run)) // 2]  # of an event: it must not count
    at = ("--at", moment.isoformat())
    before, whole = recommend(run, users, *at), recommend(run, users)
    assert before != whole
    store = json.loads((run / "store" / "store.json").read_text())
    for path in (run / "store" / "events").iterdir():
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.filter(pa.array([ts < moment for ts in table["ts"].to_pylist()])), path)
        store["files"][f"events/{path.name}"]["bytes"] = path.stat().st_size
    (run / "store" / "store.json").write_text(json.dumps(store))
    assert recommend(run, users, *at) == before


def test_the_default_time_is_right_after_the_last_event(recommend, finished, users_file):
    users = users_file(pq.read_table(finished / "store" / "users.parquet")["user_id"].combine_chunks())
    events = events_of(finished)
    touched = [action != "impression" for action in events["action"].to_pylist()]
    last = max(ts for ts, touch in zip(events["ts"].to_pylist(), touched, strict=True) if touch)
    after = recommend(finished, users, "--at", (last + datetime.timedelta(microseconds=1)).isoformat())
    assert recommend(finished, users) == after
    assert recommend(finished, users, "--at", last.isoformat()) != after


def test_a_time_may_name_its_zone_and_is_utc_if_it_does_not(recommend, finished, users_file):
    users = users_file(pq.read_table(finished / "store" / "users.parquet")["user_id"].combine_chunks())
    answers = [
        recommend(finished, users, "--at", at)
        for at in ("2026-01-15", "2026-01-15T00:00:00Z", "2026-01-15T05:30:00+05:30", "2026-01-14T19:00-05:00")
    ]
    assert all(answer == answers[0] for answer in answers)
    assert recommend(finished, users, "--at", "2026-01-14T20:00") != answers[0]
    assert len(recommend(finished, users, "--at", "9999-12-31")) == len(answers[0])
    assert len(recommend(finished, users, "--at", "1066-10-14")) == 10 * len(lists_of(answers[0]))


def recall_of(lists, held_out, k):
    found = [len(held_out[user] & set(lists[user][:k])) / len(held_out[user]) for user in held_out]
    return sum(found) / len(found)


def metric(run, name, **chosen):
    rows = json.loads((run / "metrics.json").read_text())["rows"]
    wanted = {"metric": name, "model": "lowerfunnel", "task": "conversion", "slice": "all"} | chosen
    (row,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return row


def test_it_agrees_with_the_metrics_of_a_given_test(recommend, shop_run, shop, users_file):
    held_out = collections.defaultdict(set)
    for row in rows_of_csv(shop.parent / "log" / "test.csv"):
        held_out[row["user_id"]].add(row["item_id"])
    lists = lists_of(recommend(shop_run, users_file(list(held_out)), k=10))
    assert "never-trained" in lists
    for k in (5, 10):
        row = metric(shop_run, f"recall@{k}")
        assert row["n"] == len(held_out)
        assert recall_of(lists, held_out, k) == pytest.approx(row["value"], abs=1e-6)


def test_it_agrees_with_the_metrics_of_a_temporal_test(recommend, finished, users_file):
    test = pq.read_table(finished / "labels" / "test.parquet").to_pylist()
    held_out = collections.defaultdict(set)
    for row in test:
        if row["task"] == "conversion":
            held_out[row["user_id"]].add(row["item_id"])
    lists = lists_of(recommend(finished, users_file(pa.array(list(held_out))), "--at", test[0]["at"].isoformat(), k=20))
    for k in (5, 20):
        assert recall_of(lists, held_out, k) == pytest.approx(metric(finished, f"recall@{k}")["value"], abs=1e-6)


ARRAYS = {
    "names no user": pa.array([], pa.int64()),
    "1 rows without a user_id": pa.array([1, None]),
    "user_id came as double; ids never go through fractions": pa.array([1.0]),
    "user_id came as bool; ids are integers or strings": pa.array([True]),
    "user_id came as timestamp": pa.array([1], pa.timestamp("us")),
    "user_id came as list": pa.array([[1]]),
    "user ids of this log are int64, and '007' is none": pa.array(["7", "007"]),
    "user ids of this log are int64, and": pa.array([2**64 - 1], pa.uint64()),
    "Failed to parse string: 'anna' as a scalar of type int64": pa.array(["anna"]),
}


@pytest.mark.parametrize("said", ARRAYS)
def test_a_parquet_file_that_names_no_users_of_the_log_is_refused(said, refuse, finished, users_file, tmp_path):
    users = users_file(ARRAYS[said])
    assert said in refuse("recommend", finished, "--users", users, "--k", 3, "--out", tmp_path / "o.parquet").err


TEXTS = {
    "has no column user_id; it has name, age": "name,age\nanna,31\n",
    "has no column user_id; it has user,id": '"user,id"\n1\n',
    "has more than one column user_id": "user_id,user_id\n1,2\n",
    "has no column user_id; it has no columns at all": "",
    "names no user; it has no rows": "user_id\n",
    "2 rows without a user_id": "user_id,age\n1,31\n,32\n,33\n",
    "Expected 1 columns, got 2": "user_id\n1\n2,3\n",
    "codec can't decode": b"\xff\xfe\x00".decode("latin-1"),
    "Failed to parse string: ' 1'": "user_id\n 1\n",
    "Failed to parse string: '1.0'": "user_id\n1.0\n",
    "'+1'": "user_id\n+1\n",
}


@pytest.mark.parametrize("said", TEXTS)
def test_a_text_file_that_names_no_users_of_the_log_is_refused(said, refuse, finished, tmp_path):
    path = tmp_path / "users.csv"
    path.write_text(TEXTS[said], encoding="latin-1")
    ended = refuse("recommend", finished, "--users", path, "--k", 3, "--out", tmp_path / "o.parquet")
    assert said in ended.err
    assert not (tmp_path / "o.parquet").exists()


def test_a_user_may_be_called_na(recommend, shop_run, users_file):
    assert list(lists_of(recommend(shop_run, users_file(["NA", "null", "0001"]), k=1))) == ["NA", "null", "0001"]


def test_integers_are_looked_up_as_texts_in_a_log_of_texts(succeed, shop_run, users_file, tmp_path):
    out = tmp_path / "o.parquet"
    ended = succeed("recommend", shop_run, "--users", users_file(pa.array([7])), "--k", 2, "--out", out)
    assert "1 of whom the model does not know" in ended.out  # "7" is not "0007"
    assert pq.read_table(out)["user_id"].to_pylist() == ["7", "7"]


def test_bad_options_are_refused(refuse, call, finished, users_file, tmp_path):
    users, out = users_file(["100000000"]), tmp_path / "o.parquet"
    ask = ["recommend", finished, "--k", 3]
    assert "is not there" in refuse(*ask, "--users", tmp_path / "nobody.csv", "--out", out).err
    assert "is not there; make it first" in refuse(*ask, "--users", users, "--out", tmp_path / "no" / "o.parquet").err
    assert "is a folder" in refuse(*ask, "--users", users, "--out", tmp_path).err
    assert "is the file of --users" in refuse(*ask, "--users", users, "--out", users).err
    assert "'soon' is no time" in refuse(*ask, "--users", users, "--out", out, "--at", "soon", settings=True).err
    ended = call("recommend", finished, "--k", 0, "--users", users, "--out", out)
    assert ended.status == 2
    assert "--k" in ended.err
    assert call("recommend", finished, "--k", "many", "--users", users, "--out", out).status == 2
    assert call("recommend", finished, "--users", users).status == 2
    (tmp_path / "users.parquet").write_bytes(b"PAR1 no more")
    assert "cannot be read" in refuse(*ask, "--users", tmp_path / "users.parquet", "--out", out).err
    assert not out.exists()


def test_a_log_without_time_has_no_points_in_time(tmp_path, shop, succeed, refuse, users_file, fast_report):
    log = shutil.copytree(shop.parent / "log", tmp_path / "log")
    lines = (log / "events.csv").read_text(encoding="utf-8").splitlines()
    (log / "events.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n", encoding="utf-8")
    out, answer = tmp_path / "run", tmp_path / "o.parquet"
    succeed("run", shop, "--data", log, "--out", out, "--set", "training.epochs=1")
    ask = ["recommend", out, "--users", users_file(["0001"]), "--k", 3, "--out", answer]
    assert "needs a log with times, and this one has none" in refuse(*ask, "--at", "2026-01-15").err
    succeed(*ask)


@pytest.mark.parametrize("part", ["index", "model"])
def test_a_model_and_an_index_of_different_runs_are_refused(
    part, copy_of_finished, shop_run, refuse, users_file, tmp_path
):
    shutil.rmtree(copy_of_finished / part)
    shutil.copytree(shop_run / part, copy_of_finished / part)
    ask = ["recommend", copy_of_finished, "--users", users_file(["1"]), "--k", 3, "--out", tmp_path / "o.parquet"]
    assert "taken from another run" in refuse(*ask).err


def test_an_unfinished_or_missing_run_is_refused(copy_of_finished, refuse, users_file, tmp_path):
    ask = ["--users", users_file(["1"]), "--k", 3, "--out", tmp_path / "o.parquet"]
    (copy_of_finished / "steps" / "index.json").unlink()
    assert 'has not finished its step "index"' in refuse("recommend", copy_of_finished, *ask).err
    assert "holds no run" in refuse("recommend", tmp_path / "nowhere", *ask).err


def test_an_older_answer_stays_if_the_new_one_fails(finished, refuse, users_file, tmp_path, monkeypatch):
    import errno

    out = tmp_path / "o.parquet"
    out.write_text("older")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lowerfunnel.pipeline.recommend.flush", full)
    assert "no space left" in refuse("recommend", finished, "--users", users_file(["1"]), "--k", 3, "--out", out).err
    assert out.read_text() == "older"
    assert [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []
