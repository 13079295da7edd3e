"""The log of users with tastes, built once."""

from collections.abc import Iterator

import pytest
import torch
from tests.retrieval.retrieval_samples import Sample, served_sample, taste_sample


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads of models this small only wait for each other, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tastes(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return taste_sample(tmp_path_factory.mktemp("tastes"))


@pytest.fixture(scope="session")
def unordered(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return taste_sample(tmp_path_factory.mktemp("unordered"), strategy="leave_random_out", order="none")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return served_sample(tmp_path_factory.mktemp("served"))
