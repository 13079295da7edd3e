"""What all tests share: shapes and types checked at every call, few threads, the project's folders.

The import hook has to stand before anything of the package is imported, hence here and first.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Every part where arrays and tensors pass. `config` and `cli` are left to pydantic and typer, which read annotations
# themselves, and so is what of `serving` FastAPI reads. Checking takes about 63 us a call and is never switched on at run time.
CHECKED_PARTS = (
    "evaluation", "events", "features", "index", "labels", "losses", "metrics", "nn", "retrieval", "training", "world",
    "serving.blending", "serving.catalogue", "serving.engine", "serving.source_ids", "serving.towers", "serving.versions",
)  # fmt: skip

install_import_hook(
    [f"lowerfunnel.{part}" for part in CHECKED_PARTS],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

settings.register_profile("local", deadline=None)
settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "local")

PROJECT_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    """Keep the tests to one thread: on a busy machine, threads of tiny steps spend their time waiting for each other."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder that holds pyproject.toml, recipes and docs."""
    return PROJECT_ROOT


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Give the folder of a real data set, `shared_data("gowalla")`, or skip: none of it is in the project's tree."""

    def folder_of(name: str) -> Path:
        folder = PROJECT_ROOT.parent / "shared" / "data" / name
        if not folder.is_dir():
            pytest.skip(f"needs the real data set {name!r}, and ../shared/data/{name} beside the project is absent")
        return folder

    return folder_of
