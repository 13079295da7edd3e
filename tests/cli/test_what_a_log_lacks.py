"""Settings that ask for more than a log holds, and training that breaks: one clear sentence, and nothing half done."""

import shutil

import pytest

BARE = ["user_id", "item_id", "action"]


@pytest.fixture
def log(shop, tmp_path):
    return shutil.copytree(shop.parent / "log", tmp_path / "log")


def keep(path, columns):
    """Leave only these columns of a CSV file."""
    lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
    places = [lines[0].index(column) for column in columns]
    path.write_text("\n".join(",".join(line[place] for place in places) for line in lines) + "\n", encoding="utf-8")


# The log of the shop has times, actions, prices and advertisers, and no impressions, dwells, requests, surfaces, searches.
LACKING = {
    "ignored ads": (
        ["labels.ignored=true"],
        ["labels.ignored needs what was served", "no event with the action impression (it has ",
         "map one to it, or set labels.ignored to false"],
    ),
    "hard negatives": (
        ["retrieval.negatives.hard=5"],
        ["retrieval.negatives.hard is 5", "set labels.ignored to true", "it needs impressions that were passed over",
         "or retrieval.negatives.hard to 0"],
    ),
    "own negatives": (
        ["retrieval.negatives.request=5"],
        ["retrieval.negatives.request is 5", "set labels.ignored to true", "or retrieval.negatives.request to 0"],
    ),
    "dwell": (
        ["labels.dwell.weight=log2", 'labels.dwell.actions=["view"]'],
        ['labels.dwell.weight "log2"', "no event of this log has a dwell_s", 'or set labels.dwell.weight to "none"'],
    ),
    "touches": (
        ["labels.touch_window_h=24"],
        ["labels.touch_window_h is 24", "has a request_id or a surface", "or set it to 0"],
    ),
    "a subject": (
        ["retrieval.context.subject=true"],
        ["retrieval.context.subject is on", "column context_item_id", "or set retrieval.context.subject to false"],
    ),
    "a query": (
        ["retrieval.context.query=true"],
        ["retrieval.context.query is on", "column query", "or set retrieval.context.query to false"],
    ),
    "a category": (
        ["retrieval.group_loss.weight=1", "retrieval.group_loss.by=category"],
        ["retrieval.group_loss", "column category_id", "retrieval.group_loss.weight to 0"],
    ),
    "an attribute": (
        ["retrieval.group_loss.weight=1", "retrieval.group_loss.by=brand"],
        ['groups items by "brand"', "column attributes", "retrieval.group_loss.weight to 0"],
    ),
}  # fmt: skip


def set_all(overrides):
    return [word for override in overrides for word in ("--set", override)]


@pytest.mark.parametrize("what", LACKING)
def test_what_the_log_lacks_is_said_before_training_starts(what, log, shop, refuse, tmp_path):
    overrides, parts = LACKING[what]
    run = tmp_path / "run"
    ended = refuse("run", shop, "--data", log, "--out", run, *set_all(overrides))
    assert all(part in ended.err for part in parts), ended.err
    assert ended.err.count("\n") == 1
    assert not (run / "model").exists()
    assert not (run / "checkpoints").exists()


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["retrieval.tower.counters=true"], ["retrieval.tower.counters needs a log with times", 'ordered by "none"']),
        (["retrieval.tower.activity=true"], ["retrieval.tower.activity needs a log with order", "set it to false"]),
        (["labels.touch_window_h=1"], ["labels.touch_window_h is 1 and needs a log with times", 'ordered by "none"']),
        (["retrieval.group_loss.weight=1"], ["retrieval.group_loss", "column advertiser_id"]),
    ],
    ids=["counters", "activity", "touches", "advertisers"],
)
def test_a_log_of_bare_pairs_says_what_it_is_not_enough_for(overrides, parts, log, shop, refuse, tmp_path):
    keep(log / "events.csv", BARE)
    (log / "items.csv").write_text("item_id,title\n000,a\n")
    ended = refuse("run", shop, "--data", log, "--out", tmp_path / "run", *set_all(overrides))
    assert all(part in ended.err for part in parts), ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.usefixtures("fast_report")
def test_a_log_with_what_is_asked_for_is_trained_on(log, shop, succeed, tmp_path):
    overrides = ["retrieval.tower.counters=true", "retrieval.tower.activity=true", "retrieval.group_loss.weight=0.5"]
    succeed("run", shop, "--data", log, "--out", tmp_path / "run", "--set", "training.epochs=1", *set_all(overrides))


@pytest.mark.parametrize("rate", ["learning_rate", "table_learning_rate"])
def test_training_that_breaks_is_one_sentence_with_step_examples_and_remedy(rate, finished, tiny, refuse, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    ended = refuse("run", tiny, "--out", run, "--set", f"training.{rate}=1e30")
    assert ended.err.count("\n") == 1
    assert "in epoch 1, step" in ended.err
    assert "examples, the first of them" in ended.err
    assert "(user on item)" in ended.err
    assert "there is no checkpoint yet" in ended.err
    assert "lower training.learning_rate or training.table_learning_rate" in ended.err


@pytest.mark.usefixtures("fast_report")
def test_training_that_breaks_later_names_the_last_good_checkpoint_and_goes_on_from_it(
    tiny, finished, refuse, succeed, tmp_path, monkeypatch
):
    from lowerfunnel.retrieval.objective import TwoTowerTraining

    run = shutil.copytree(finished, tmp_path / "run")
    step = TwoTowerTraining.step

    def breaking(self, epoch, place, factor):
        loss = step(self, epoch, place, factor)
        return loss * float("nan") if (epoch, place) == (1, 1) else loss

    with monkeypatch.context() as patch:
        patch.setattr(TwoTowerTraining, "step", breaking)
        ended = refuse("run", tiny, "--out", run, "--set", "training.epochs=3")
    assert "the loss is nan in epoch 2, step 2, on" in ended.err
    assert f"the last good checkpoint is that of 1 epochs and 0 steps in {run / 'checkpoints'}" in ended.err
    assert not (run / "manifest.json").exists()
    succeed("run", tiny, "--out", run, "--set", "training.epochs=3")
    whole = tmp_path / "whole"
    succeed("run", tiny, "--out", whole, "--set", "training.epochs=3")
    weights = [(path / "model" / "weights.safetensors").read_bytes() for path in (run, whole)]
    assert weights[0] == weights[1]
