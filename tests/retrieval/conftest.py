"""The log of users with tastes, built once."""

import pytest
from tests.retrieval.retrieval_samples import Sample, taste_sample


@pytest.fixture(scope="session")
def tastes(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return taste_sample(tmp_path_factory.mktemp("tastes"))


@pytest.fixture(scope="session")
def unordered(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return taste_sample(tmp_path_factory.mktemp("unordered"), strategy="leave_random_out", order="none")
