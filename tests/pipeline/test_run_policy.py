"""A finished run as a policy of its world."""

from pathlib import Path

import numpy as np
import pytest
import rich.console
from tests.tiny_world import tiny_world

from lowerfunnel.errors import PolicyError, RunError
from lowerfunnel.pipeline.console import Console
from lowerfunnel.pipeline.recipe import load_recipe
from lowerfunnel.pipeline.run import start_run
from lowerfunnel.pipeline.run_policy import RunPolicy
from lowerfunnel.world import Requests, World, load_world

SLOTS = 5
RECIPE = (
    'name = "policy"'
    + tiny_world(users=120, items=60, advertisers=6, days=16)
    + """
[labels]
weights = { checkout = 1.0, add_to_cart = 0.5, click = 0.1 }
[labels.split]
test_days = 3
validation_days = 3
[retrieval.tower]
width = 8
hidden = [8]
cross_rank = 4
activity = true
[retrieval.history]
length = 8
feedforward = 8
[training]
epochs = 1
threads = 1
[evaluation]
floors = []
bootstrap = 100
ks = [5]
headline = "recall@5"
"""
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    (folder / "policy.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lowerfunnel.pipeline.report.render_report", lambda _: "<html></html>\n")
        quiet = Console(rich.console.Console(quiet=True))
        start_run(load_recipe(folder / "policy.toml"), out=folder / "run", data=None, console=quiet)
    return folder / "run"


@pytest.fixture(scope="module")
def world(run: Path) -> World:
    return load_world(run / "world")


@pytest.fixture(scope="module")
def policy(run: Path, world: World) -> RunPolicy:
    return RunPolicy.open(run, world.item_id_I, queries=world.queries)


def requests_of(world: World, users: list[int], *, day: float = 16.0, surface: int = 0) -> Requests:
    """One request of each user, by their rows, a second apart; -1 is somebody new."""
    count = len(users)
    known = np.array(users, np.int64)
    return Requests(
        request_R=np.arange(count),
        t_us_R=world.start_us + int(day * 86_400_000_000) + np.arange(count) * 1_000_000,
        user_id_R=np.where(known < 0, 999_999_999, world.user_id_U[known]),
        surface_R=np.full(count, surface, np.int8),
        context_item_id_R=np.full(count, -1),
        query_R=np.full(count, -1),
    )


def everything(world: World) -> np.ndarray:
    return np.ones(len(world.item_id_I), np.bool_)


def test_it_shows_different_eligible_items_of_the_world(policy: RunPolicy, world: World) -> None:
    eligible_I = np.arange(len(world.item_id_I)) % 2 == 0
    shown_RS = policy.rank(requests_of(world, list(range(50))), eligible_I, SLOTS).item_id_RS
    assert shown_RS.shape == (50, SLOTS)
    assert np.isin(shown_RS, world.item_id_I[eligible_I]).all()
    assert all(len(set(row)) == SLOTS for row in shown_RS.tolist())


def test_users_get_lists_of_their_own(policy: RunPolicy, world: World) -> None:
    shown_RS = policy.rank(requests_of(world, list(range(100))), everything(world), SLOTS).item_id_RS
    assert len(np.unique(shown_RS, axis=0)) > 50


def test_the_first_choice_moves_up_when_it_is_not_eligible(policy: RunPolicy, world: World) -> None:
    asked = requests_of(world, [3])
    first = policy.rank(asked, everything(world), SLOTS).item_id_RS[0]
    without_I = everything(world) & (world.item_id_I != first[0])
    assert policy.rank(asked, without_I, SLOTS).item_id_RS[0, :-1].tolist() == first[1:].tolist()


def test_cutting_the_requests_changes_nothing(policy: RunPolicy, world: World) -> None:
    rng = np.random.default_rng(0)
    users = rng.integers(-1, 100, 300).tolist()
    asked = requests_of(world, users)
    whole = policy.rank(asked, everything(world), SLOTS).item_id_RS
    for cut in (1, 7, 150):
        parts = [
            policy.rank(
                Requests(**{name: getattr(asked, name)[part] for name in Requests.__dataclass_fields__}),
                everything(world),
                SLOTS,
            ).item_id_RS
            for part in (slice(0, cut), slice(cut, None))
        ]
        assert np.array_equal(np.concatenate(parts), whole)


def test_a_user_who_comes_back_later_is_somebody_who_was_away(policy: RunPolicy, world: World) -> None:
    """The history is the same by then, and what was done in the last day, week and month is not."""
    soon, later = (requests_of(world, list(range(100)), day=day) for day in (16.0, 60.0))
    together = Requests(
        **{name: np.concatenate([getattr(soon, name), getattr(later, name)]) for name in Requests.__dataclass_fields__}
    )
    shown = policy.rank(together, everything(world), SLOTS).item_id_RS
    apart = [policy.rank(asked, everything(world), SLOTS).item_id_RS for asked in (soon, later)]
    assert not np.array_equal(*apart)
    assert np.array_equal(shown, np.concatenate(apart))


def test_somebody_new_gets_the_answer_for_nobody(policy: RunPolicy, world: World) -> None:
    shown_RS = policy.rank(requests_of(world, [-1, -1, 5]), everything(world), SLOTS).item_id_RS
    assert shown_RS[0].tolist() == shown_RS[1].tolist()


def test_it_knows_only_what_came_before_the_request(policy: RunPolicy, world: World) -> None:
    early, late = (
        policy.rank(requests_of(world, list(range(100)), day=day), everything(world), SLOTS).item_id_RS
        for day in (0.0, 16.0)
    )
    assert not np.array_equal(early, late)


def test_what_somebody_has_bought_is_not_shown_to_them_again(policy: RunPolicy, world: World) -> None:
    bought = {}
    for day in world.log():
        table = day.events.filter(np.array(day.events.column("action").to_pylist()) == "checkout")
        for user, item in zip(table.column("user_id").to_pylist(), table.column("item_id").to_pylist(), strict=True):
            bought.setdefault(user, set()).add(item)
    assert len(bought) > 20
    row_of = {int(user): row for row, user in enumerate(world.user_id_U)}
    users = list(bought)
    asked = requests_of(world, [row_of[user] for user in users])
    shown_RS = policy.rank(asked, everything(world), SLOTS).item_id_RS
    assert all(not bought[user] & set(row) for user, row in zip(users, shown_RS.tolist(), strict=True))


def test_the_surface_is_read(policy: RunPolicy, world: World) -> None:
    shown = [
        policy.rank(requests_of(world, list(range(100)), surface=surface), everything(world), SLOTS).item_id_RS
        for surface in (0, 2)
    ]
    assert not np.array_equal(*shown)


def test_no_requests_get_no_lists(policy: RunPolicy, world: World) -> None:
    assert policy.rank(requests_of(world, []), everything(world), SLOTS).item_id_RS.shape == (0, SLOTS)


def test_items_that_came_after_the_log_are_never_shown(run: Path, world: World) -> None:
    ids = np.append(world.item_id_I, world.item_id_I[-1] + np.arange(1, 4))
    policy = RunPolicy.open(run, ids, queries=world.queries, name="newer world")
    shown_RS = policy.rank(requests_of(world, [0, 1, 2]), np.ones(len(ids), np.bool_), SLOTS).item_id_RS
    assert np.isin(shown_RS, world.item_id_I).all()
    only_new_I = np.arange(len(ids)) >= len(world.item_id_I) - 2
    with pytest.raises(PolicyError, match='"newer world" knows 2 of the 5 eligible items, fewer than the 5 slots'):
        policy.rank(requests_of(world, [0]), only_new_I, SLOTS)


def test_a_run_of_another_world_is_refused(run: Path) -> None:
    with pytest.raises(RunError, match="none of the world's 3 items is in the run's catalogue of 60"):
        RunPolicy.open(run, np.array([1, 2, 3]), queries=[])


def test_a_world_takes_its_answers(policy: RunPolicy, world: World) -> None:
    outcomes = world.play(policy, world.config.days)
    assert len(outcomes) > 0
    assert np.array_equal(outcomes.item_N, world.play(policy, world.config.days).item_N)
