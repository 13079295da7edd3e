"""Routes of another part, such as a page, beside those of the edge."""

import httpx
import pytest
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from lowerfunnel.serving.http.keys import KeyRing, make_key


def page() -> APIRouter:
    router = APIRouter(prefix="/page")

    @router.get("/look/{user}", include_in_schema=False)
    async def look(request: Request, user: str, k: int = 5) -> HTMLResponse:
        edge = request.app.state.edge
        edge.authorise(request, "serve")
        known = await edge.serve_lane.run(edge.service.surfaces)
        return HTMLResponse(f"<p>{len(user)} {k} {known}</p>")

    return router


@pytest.fixture(scope="module")
def running(serve, tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    key = make_key(path, scopes=["serve"])
    started = serve(keys=KeyRing(path), routers=[page()])
    started.client.headers["authorization"] = f"Bearer {key}"
    return started


def test_it_gets_the_edge_its_lanes_its_keys_and_its_request_ids(running):
    answer = running.client.get("/page/look/u-17?k=3", headers={"x-request-id": "page-1"})
    assert (answer.status_code, answer.text) == (200, "<p>4 3 ['home']</p>")
    assert answer.headers["x-request-id"] == "page-1"
    assert httpx.get(f"{running.address}/page/look/u-17").status_code == 401


def test_its_parameters_are_refused_in_the_one_shape_and_its_paths_make_no_series(running):
    answer = running.client.get("/page/look/u-17?k=x")
    assert answer.status_code == 422
    assert answer.json()["error"]["details"][0]["place"] == "query.k"
    assert "u-17" not in running.client.get("/metrics").text
    assert "/page/look/u-17" not in running.client.get("/openapi.json").text
