"""A server on a port of the system's choosing, in a thread, around any service of the table."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.serving.http.running import Running, start_server
from tests.serving.http.services import SERVICES, Watched

from lowerfunnel.serving.service import CandidateService

Serve = Callable[..., Running]


@pytest.fixture(scope="module", params=sorted(SERVICES))
def make_service(request, tmp_path_factory) -> Callable[[], Watched]:
    return lambda: Watched(SERVICES[request.param](tmp_path_factory.mktemp("service")))


@pytest.fixture(scope="module")
def serve(make_service) -> Iterator[Serve]:
    """Start servers; all stop at the end of the module."""
    with ExitStack() as stack:

        def start(service: CandidateService | None = None, **settings) -> Running:
            return start_server(stack, make_service() if service is None else service, **settings)

        yield start


@pytest.fixture(scope="module")
def server(serve) -> Running:
    """A server with default limits, with OpenRTB, without keys."""
    running = serve(openrtb_cpm=1.5, openrtb_click_url="https://shop.example/items/{item_id}")
    items = [
        {"item_id": "lamp", "advertiser_id": "shop.example", "category_id": "light", "title": "A lamp", "price": 24.99,
         "currency": "USD", "image_url": "https://shop.example/lamp.png"},
        {"item_id": "sofa", "advertiser_id": "shop.example", "category_id": "seats", "title": "A sofa", "price": 900.0,
         "currency": "USD", "attributes": ["country=DE"]},
        {"item_id": 7, "advertiser_id": "other", "category_id": "light", "title": "Seven", "price": 7.0},
    ]  # fmt: skip
    answer = running.client.put("/v1/items", json={"items": items})
    assert answer.json()["accepted"] == 3
    return running
