from collections.abc import Iterator
from http.cookies import SimpleCookie

import httpx
import pytest
from document import read
from live_server import serving
from sample_service import SampleService
from starlette.requests import Request

from lowerfunnel.serving.console.access import read_key
from lowerfunnel.serving.recent import RecentAnswers

KEY = 'lf_1a2b_Zm9v; =," é'


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    allows = lambda key: key == KEY  # noqa: E731
    with serving(SampleService(), RecentAnswers(), allows=allows) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/?user=7", "/console/live"])
def test_without_a_key_there_is_a_login_and_nothing_else(client, path):
    response = client.get(path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    page = read(response.text)
    assert page.one("form").attributes["method"] == "post"
    assert page.one("label").attributes["for"] == page.one("input", type="password").attributes["id"]
    assert page.all(class_="card") == page.all(class_="versions") == []


def test_the_right_key_opens_the_page_until_the_log_out(client):
    response = client.post("/console/login", data={"key": f" {KEY} "})
    assert (response.status_code, response.headers["location"]) == (303, "/")
    cookie = SimpleCookie(response.headers["set-cookie"])["lowerfunnel_key"]
    assert cookie["httponly"] is True
    assert cookie["samesite"].lower() == "strict"
    assert cookie["path"] == "/"
    assert cookie["max-age"] == cookie["expires"] == ""
    page = client.get("/?user=7&k=2")
    assert page.status_code == 200
    assert KEY not in page.text
    assert "$LOWERFUNNEL_KEY" in read(page.text).one(id="command").text
    assert read(page.text).one("form", class_="logout").attributes["method"] == "post"
    assert client.get("/console/live").status_code == 200
    client.post("/console/logout")
    assert client.get("/").status_code == 401


@pytest.mark.parametrize("body", ["", "key=", "key=wrong", "other=1", "key=" + "x" * 10_000, "&" * 50, "\xff\x00"])
def test_a_wrong_key_is_told_so_and_sets_no_cookie(client, body):
    response = client.post(
        "/console/login", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert response.status_code == 401
    assert "set-cookie" not in response.headers
    assert read(response.text).one(id="wrong-key").text == "This key does not open the page."
    assert "wrong&" not in response.text


def test_a_key_is_taken_by_post_only_and_not_from_another_site(client):
    assert client.get("/console/login", params={"key": KEY}).status_code == 405
    assert client.get("/console/logout").status_code == 405
    foreign = {"sec-fetch-site": "cross-site"}
    assert client.post("/console/login", data={"key": KEY}, headers=foreign).status_code == 403
    client.post("/console/login", data={"key": KEY})
    client.post("/console/logout", headers=foreign)
    assert client.get("/").status_code == 200


def test_a_program_may_use_the_header(client):
    header = {"authorization": f"Bearer {KEY}".encode("latin-1")}
    assert client.get("/", headers=header).status_code == 200
    assert client.get("/", headers={"authorization": "Bearer wrong"}).status_code == 401


def test_a_part_that_lost_its_key_has_the_page_loaded_again(client):
    assert client.get("/console/live", headers={"hx-request": "true"}).headers["hx-refresh"] == "true"


def test_assets_need_no_key(client):
    page = read(client.get("/").text)
    assert all(client.get(link.attributes["href"] or "").status_code == 200 for link in page.all("link"))


def test_without_keys_there_is_no_login():
    with serving(SampleService(), RecentAnswers()) as url:
        assert httpx.post(url + "/console/login", data={"key": KEY}).status_code == 404
        page = read(httpx.get(url + "/?user=7").text)
        assert page.all("form", class_="logout") == []
        assert "Authorization" not in page.one(id="command").text


def test_the_header_comes_before_the_cookie():
    def key_of(*headers: tuple[bytes, bytes]) -> str | None:
        return read_key(Request({"type": "http", "headers": list(headers)}))

    assert key_of() is None
    assert key_of((b"cookie", b"lowerfunnel_key=a%3Bb")) == "a;b"
    assert key_of((b"cookie", b"lowerfunnel_key=a"), (b"authorization", b"bearer b")) == "b"
    assert key_of((b"authorization", b"Basic b")) is None
    assert key_of((b"cookie", b"lowerfunnel_key=")) is None
