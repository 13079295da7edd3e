"""An experiment with the model of a finished run, in the world that its log came from."""

from collections.abc import Callable
from pathlib import Path

from lowerfunnel.errors import RunError
from lowerfunnel.pipeline.recipe import Recipe
from lowerfunnel.pipeline.run import open_finished
from lowerfunnel.pipeline.run_folder import RunFolder
from lowerfunnel.pipeline.run_policy import RunPolicy
from lowerfunnel.world import World, load_world
from lowerfunnel.world.experiment import Experiment, experiment
from lowerfunnel.world.policy import Policy


def experiment_on_run(
    run: Path,
    *,
    against: Path | None,
    days: int,
    n_boot: int = 1000,
    seed: int = 0,
    limit_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Experiment:
    """Let the model of a run choose the ads of the first days after its log, and compare it with another policy.

    Args:
        run: The folder of a run whose recipe has a world.
        against: The folder of another run on the same world; None for the policy that made the log.
        days: How many days are played.
        n_boot: Resamples of the users for the intervals.
        seed: Of the resamples.
        limit_s: Seconds that a policy may take for the requests of an hour; None for no limit.
        progress: Called with the policy-days played and those in all.

    Raises:
        RunError: If a run is not finished or damaged, not on a synthetic world, or the two are on different ones.
        PolicyError: If a model cannot fill the slots.
    """
    recipe = _recipe_on_a_world(run)
    if against is not None and _recipe_on_a_world(against).world != recipe.world:
        raise RunError(
            f"the runs in {run} and {against} are on different worlds; give two runs whose recipes have the same [world]"
        )
    world = load_world(run / "world")
    name_b, name_a = _names(run, against, recipe)
    policy_b = RunPolicy.open(run, world.item_id_I, queries=world.queries, name=name_b)
    policy_a: Policy = (
        _logging(world)
        if against is None
        else RunPolicy.open(against, world.item_id_I, queries=world.queries, name=name_a)
    )
    first = world.config.days
    return experiment(
        world,
        policy_a,
        policy_b,
        days=range(first, first + days),
        n_boot=n_boot,
        seed=seed,
        limit_s=limit_s,
        progress=progress,
    )


def _logging(world: World) -> Policy:
    return world.logging_policy


def _recipe_on_a_world(run: Path) -> Recipe:
    folder = RunFolder.open(run)
    with folder.reading():
        recipe, _, _ = open_finished(folder, ("import",), untouched=())
    if recipe.world is None:
        raise RunError(
            f"the run in {run} is not on a synthetic world (its recipe has no [world]), so nobody knows what other ads would "
            "have sold"
        )
    return recipe


def _names(run: Path, against: Path | None, recipe: Recipe) -> tuple[str, str]:
    """Return the names of both runs: those of their recipes, or of their folders where these are the same."""
    if against is None:
        return recipe.name, ""
    other = _recipe_on_a_world(against)
    if other.name != recipe.name:
        return recipe.name, other.name
    names = (run.resolve().name, against.resolve().name)
    return names if names[0] != names[1] else (str(run), str(against))
