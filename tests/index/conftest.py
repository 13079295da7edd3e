"""What tests of several files need."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A folder of Milvus Lite, whose server is stopped in the end."""
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    from milvus_lite.server_manager import server_manager_instance

    path = str(tmp_path_factory.mktemp("milvus") / "lite.db")
    yield path
    server_manager_instance.release_server(path)
