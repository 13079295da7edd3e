"""Every kind of bad input, through the command line: a clear sentence and the right status, or a documented meaning."""

import json
import shutil
import subprocess

import pyarrow.parquet as pq
import pytest


@pytest.fixture
def log(shop, tmp_path):
    return shutil.copytree(shop.parent / "log", tmp_path / "log")


def edit(path, change):
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(change(lines)) + "\n", encoding="utf-8")


def put(column, value, *, every=1):
    """Change a column of each row, or of every n-th."""

    def change(lines):
        place = lines[0].split(",").index(column)
        rows = [line.split(",") for line in lines]
        for number in range(1, len(rows), every):
            rows[number][place] = value
        return [",".join(row) for row in rows]

    return change


def rename(old, new):
    return lambda lines: [lines[0].replace(old, new), *lines[1:]]


REFUSED = {
    "a missing column": ("events.csv", rename("user_id", "visitor"), "nothing gives user_id"),
    "a missing column of the test": ("test.csv", rename("item_id", "thing"), "nothing gives item_id"),
    "unknown actions": ("events.csv", put("action", "bought"), "none of its actions is known; the files say 'bought'"),
    "too many unknown actions": ("events.csv", put("action", "bought", every=3), "action is unknown"),
    "unparsable times": ("events.csv", put("ts", "yesterday"), "ts cannot be read as a time"),
    "future times": ("events.csv", put("ts", "2999-01-01T00:00:00Z"), "ts lies in the future"),
    "negative prices": ("items.csv", put("price", "-1"), "price is negative"),
    "NaN prices": ("items.csv", put("price", "nan"), "price is NaN or infinite"),
    "ids that are missing": ("events.csv", put("user_id", ""), "user_id is missing"),
    "an empty file": ("events.csv", lambda _: [], "begins with an empty line"),
    "an empty test": ("test.csv", lambda lines: lines[:1], "test"),
    "no events": ("events.csv", lambda lines: lines[:1], "events"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_log_is_refused(what, log, shop, refuse, tmp_path):
    file, change, said = REFUSED[what]
    edit(log / file, change)
    ended = refuse("run", shop, "--data", log, "--out", tmp_path / "run")
    assert said in ended.err
    assert len(ended.err.splitlines()) <= 12


def test_a_file_of_no_bytes_and_a_missing_one_are_refused(log, shop, refuse, tmp_path):
    (log / "events.csv").write_bytes(b"")
    assert "events.csv is empty (0 bytes)" in refuse("run", shop, "--data", log, "--out", tmp_path / "run").err
    (log / "events.csv").rename(log / "event.csv")
    assert "did you mean 'event.csv'?" in refuse("run", shop, "--data", log, "--out", tmp_path / "other").err
    assert not (tmp_path / "other").exists()


FEW = {
    "an unknown action": ("events.csv", put("action", "bought", every=50), "action is unknown"),
    "an unparsable time": ("events.csv", put("ts", "yesterday", every=50), "ts cannot be read as a time"),
    "a future time": ("events.csv", put("ts", "2999-01-01T00:00:00Z", every=50), "ts lies in the future"),
    "a negative price": ("items.csv", put("price", "-3", every=20), "price is negative"),
    "a NaN price": ("items.csv", put("price", "NaN", every=20), "price is NaN or infinite"),
    "an infinite price": ("items.csv", put("price", "inf", every=20), "price is NaN or infinite"),
}


@pytest.mark.parametrize("what", FEW)
def test_a_few_bad_rows_are_set_aside_and_counted(what, log, shop, succeed):
    file, change, reason = FEW[what]
    edit(log / file, change)
    assert reason in succeed("check", shop, "--data", log).out


@pytest.mark.usefixtures("fast_report")
def test_odd_but_legal_logs_run_and_say_what_they_mean(log, shop, succeed, tmp_path):
    edit(log / "items.csv", lambda lines: [*lines, "005,b,77", "005,b,78"])  # other values for an item: the first stays
    edit(log / "events.csv", lambda lines: [*lines, *lines[1:4]])  # duplicates
    out = tmp_path / "run"
    succeed("run", shop, "--data", log, "--out", out, "--set", "training.epochs=1")
    items = {row["item_id"]: row for row in pq.read_table(out / "store" / "items.parquet").to_pylist()}
    assert items["005"]["price"] == 5.5
    assert items["000"]["price"] is None  # in the events and not in the catalogue: an orphan, and still recommended
    quality = json.loads((out / "store" / "quality.json").read_text())
    assert quality["duplicates"] == 3
    users = tmp_path / "users.csv"
    users.write_text("user_id\nnever-trained\n")  # in the test alone
    succeed("recommend", out, "--users", users, "--k", 100, "--out", tmp_path / "o.parquet")
    found = pq.read_table(tmp_path / "o.parquet")["item_id"].to_pylist()
    assert sorted(found) == sorted(items)
    page = succeed("check", shop, "--data", log).out
    assert "orphan" in page.lower() or "not in the catalogue" in page


def recipe(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_bad_settings_are_named_all_at_once_with_what_was_meant(tiny, refuse, tmp_path):
    text = tiny.read_text().replace("epochs = 2", "epoch = 2").replace("width = 8", 'width = "wide"')
    ended = refuse("run", recipe(tmp_path, text), "--out", tmp_path / "run", settings=True)
    assert "recipe.toml has 2 bad settings" in ended.err
    assert "training.epoch" in ended.err
    assert "did you mean training.epochs?" in ended.err
    assert "retrieval.tower.width: should be a whole number" in ended.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["training.epochs"], "has no '='"),
        (["training.epochs="], "has no value"),
        (["training.epochs=many"], "training.epochs: should be a whole number"),
        (["training.epochs=0"], "epochs must be at least 1"),
        (["evaluation.ks=[0]"], "ks must be whole numbers from 1"),
        (["evaluation.ks=[1"], "is not valid TOML"),
        (["evaluation.headline=recall"], "headline must be"),
        (['evaluation.floors=["best"]'], "evaluation.floors"),
        (["labels.weights.bought=1"], "unknown actions ['bought']"),
        (["name=a/b"], "name must be letters"),
        (["log.reader=nobody"], "there is none so named"),
        (["world.n_users=0"], "n_users should be at least 1"),
        (["training.device=cuda"], "no CUDA device is present"),
        (["seed=-1"], "seed must not be negative"),
        (["retrieval.tower.widht=3"], "did you mean retrieval.tower.width?"),
    ],
)
def test_bad_overrides_are_refused(overrides, said, tiny, refuse, tmp_path):
    import torch

    if "cuda" in overrides[0] and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device, so asking for one is no mistake")
    options = [word for override in overrides for word in ("--set", override)]
    assert said in refuse("run", tiny, "--out", tmp_path / "run", *options, settings=True).err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "is not valid TOML: line 1"),
        ('name = "x"\n[log\n', "line 2"),
        ("", "log: needs a value and has none"),
        ("\x00", "not valid TOML"),
    ],
)
def test_a_broken_recipe_is_refused(text, said, refuse, tmp_path):
    assert said in refuse("run", recipe(tmp_path, text), "--out", tmp_path / "run", settings=True).err
    assert said in refuse("check", recipe(tmp_path, text), settings=True).err


def test_a_recipe_that_is_not_there_is_refused(refuse, tmp_path):
    assert "there is no recipe" in refuse("run", tmp_path / "no.toml", "--out", tmp_path / "run", settings=True).err
    assert "there is no recipe" in refuse("run", tmp_path, "--out", tmp_path / "run", settings=True).err
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    assert "not UTF-8" in refuse("check", tmp_path / "latin.toml", settings=True).err


@pytest.mark.parametrize("command", ["run", "check"])
def test_data_is_given_exactly_where_it_is_needed(command, tiny, shop, refuse, tmp_path):
    out = ["--out", tmp_path / "run"] if command == "run" else []
    assert "needs the folder of its log: add --data PATH" in refuse(command, shop, *out, settings=True).err
    assert (
        "generates its own log; leave out --data" in refuse(command, tiny, "--data", tmp_path, *out, settings=True).err
    )
    assert "is not there" in refuse(command, shop, "--data", tmp_path / "no", *out, settings=True).err
    assert "is no folder" in refuse(command, shop, "--data", shop, *out, settings=True).err
    assert not (tmp_path / "run").exists()


def test_wrong_options_are_explained(call, tiny, tmp_path):
    for arguments in (
        ["run", tiny],
        ["run"],
        ["dance"],
        ["run", tiny, "--out", tmp_path, "--speed", 3],
        ["run", tiny, "--seed", "x"],
    ):
        ended = call(*arguments)
        assert ended.status == 2
        assert "Error" in ended.err
        assert "Traceback" not in ended.err
    assert call("run", tiny, "--out", tmp_path / "run", "--seed", -1).status == 2


@pytest.mark.usefixtures("fast_report")
def test_a_given_test_without_a_file_and_a_log_too_short_are_refused(tiny, copy_of_finished, refuse):
    run = ["run", tiny, "--out", copy_of_finished]
    assert "names no test file" in refuse(*run, "--set", "labels.split.strategy=given").err
    assert "nothing is left to train on" in refuse(*run, "--set", "labels.split.test_days=40").err


@pytest.fixture
def disk(tmp_path):
    """Mount small file systems at `tmp_path / "disk"`, where that is allowed: `disk("size=600k")`."""
    path, mounted = tmp_path / "disk", []

    def mount(options):
        path.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, check=False)
        if done.returncode != 0:
            pytest.skip("needs the right to mount a small file system, and this process may not")
        mounted.append(path)
        return path

    yield mount
    for each in mounted:
        subprocess.run(["umount", "--lazy", each], check=True)


def test_no_space_left_is_one_sentence_every_time(tiny, disk, refuse, tmp_path, shop, log):
    small = disk("size=100k")
    for _ in range(2):
        ended = refuse("run", tiny, "--out", small / "run")
        assert "no space left" in ended.err
        assert ended.err.count("\n") == 1
    assert "no space left" in refuse("world", "make", "--out", small / "world").err


@pytest.mark.usefixtures("fast_report")
@pytest.mark.parametrize("kilobytes", [4, 90, 300])
def test_no_space_left_in_any_step_is_one_sentence(kilobytes, finished, tiny, disk, refuse):
    kept = [path for part in ("store", "steps") for path in (finished / part).rglob("*")]
    size = sum((path.stat().st_size + 4095) // 4096 * 4 for path in kept) + 60 + kilobytes
    run = disk(f"size={size}k") / "run"
    run.mkdir()
    shutil.copy(finished / "run.json", run)
    shutil.copytree(finished / "store", run / "store")
    (run / "steps").mkdir()
    shutil.copy(finished / "steps" / "import.json", run / "steps")
    ended = refuse("run", tiny, "--out", run)
    assert "no space left" in ended.err
    assert ended.err.count("\n") == 1


def test_a_place_that_may_not_be_written_is_one_sentence(tiny, finished, disk, refuse, succeed, tmp_path):
    locked = disk("size=20m")
    run = shutil.copytree(finished, locked / "run")
    users = tmp_path / "users.csv"
    users.write_text("user_id\n100000000\n")
    subprocess.run(["mount", "-o", "remount,ro", locked], check=True)
    ask = ["recommend", run, "--users", users, "--k", 3, "--out"]
    for command in (
        ["run", tiny, "--out", locked / "new"],
        ["run", tiny, "--out", run],
        ["evaluate", run],
        ["report", run],
        ["world", "make", "--out", locked / "world", "--set", "n_users=3", "--set", "n_items=200", "--set", "days=1"],
        [*ask, locked / "o.parquet"],
    ):
        ended = refuse(*command)
        assert "cannot be written" in ended.err
        assert ended.err.count("\n") == 1
    succeed(*ask, tmp_path / "o.parquet")  # a run may be read where nobody may write


def test_a_file_that_may_not_be_read_is_one_sentence(shop, log, refuse, tmp_path, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("lowerfunnel.events.fingerprint.sha256_of_file", forbidden)
    ended = refuse("run", shop, "--data", log, "--out", tmp_path / "run")
    assert ended.err.endswith("csv cannot be read (Permission denied)\n")
