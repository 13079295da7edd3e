"""Clients that are slow, greedy or gone, over a real socket."""

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

LIVE = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module")
def strict(serve):
    """A server whose patience is short."""
    return serve(
        header_timeout_s=0.4, body_timeout_s=0.4, linger_s=0.4, keep_alive_s=0.8, write_timeout_s=0.5,
        most_header_bytes=4096, most_headers=20, most_connections=20, most_body_bytes=100_000,
    )  # fmt: skip


def connect(running) -> socket.socket:
    connection = socket.create_connection(running.place)
    connection.settimeout(10)
    return connection


def until_closed(connection: socket.socket) -> tuple[bytes, float]:
    """What comes until the other side closes, and how long that took in seconds."""
    began = time.perf_counter()
    data = b""
    try:
        while chunk := connection.recv(65536):
            data += chunk
    except ConnectionError:
        pass
    return data, time.perf_counter() - began


def send_until(connection: socket.socket, piece: bytes, *, pause_s: float = 0.0) -> None:
    """Send the same bytes again and again until the other side has had enough, at most for 20 seconds."""
    began = time.perf_counter()
    while time.perf_counter() - began < 20:
        connection.sendall(piece)
        time.sleep(pause_s)


def one_answer(connection: socket.socket) -> tuple[int, dict]:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        assert chunk, data
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    (length,) = [int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")]
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1]), json.loads(body)


def status_of(data: bytes) -> int:
    return int(data.split()[1])


def post(path: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join(
        [b"POST " + path + b" HTTP/1.1", b"host: x", b"content-type: application/json", *headers, b"", b""]
    )


def test_one_connection_serves_many_requests(strict):
    with connect(strict) as connection:
        for number in range(50):
            body = json.dumps({"k": 1 + number % 3, "deadline_ms": 5000}).encode()
            connection.sendall(post(b"/v1/candidates", b"content-length: %d" % len(body)) + body)
            assert one_answer(connection)[0] == 200
            connection.sendall(LIVE)
            assert one_answer(connection) == (200, {"live": True})


def test_requests_in_one_piece_are_answered_in_order(strict):
    with connect(strict) as connection:
        body = b'{"k": 1, "deadline_ms": 5000}'
        asked = post(b"/v1/candidates", b"x-request-id: r%d", b"content-length: %d" % len(body)) + body
        connection.sendall(b"".join(asked.replace(b"%d", b"%d" % number) for number in range(5)))
        data = b""
        while data.count(b'"request_id"') < 5:
            data += connection.recv(65536)
        places = [data.index(b'"request_id":"r%d"' % number) for number in range(5)]
        assert places == sorted(places)


def test_a_request_in_single_bytes_is_answered(serve):
    with connect(serve()) as connection:
        for byte in LIVE:
            connection.sendall(bytes([byte]))
        assert one_answer(connection)[0] == 200


def test_a_connection_that_says_nothing_is_closed(strict):
    with connect(strict) as connection:
        data, took_s = until_closed(connection)
    assert data == b""
    assert 0.3 < took_s < 2


def test_headers_that_trickle_are_told_408_and_closed(strict):
    with connect(strict) as connection:
        began = time.perf_counter()
        data = b""
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        connection.settimeout(0.05)
        while time.perf_counter() - began < 5 and not data:
            try:
                connection.sendall(b"x: y\r\n")
                data = connection.recv(65536)
            except TimeoutError:
                continue
        assert status_of(data) == 408
        assert json.loads(data.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_slow"
        assert time.perf_counter() - began < 2


def test_the_second_request_of_a_connection_has_the_same_time(strict):
    with connect(strict) as connection:
        connection.sendall(LIVE + b"GET /li")
        assert one_answer(connection)[0] == 200
        data, took_s = until_closed(connection)
        assert status_of(data) == 408
        assert took_s < 2


def test_empty_lines_do_not_hold_a_connection(strict):
    with connect(strict) as connection:
        connection.sendall(LIVE)
        assert one_answer(connection)[0] == 200
        connection.sendall(b"\r\n")
        assert until_closed(connection)[1] < 2


def test_an_idle_connection_is_closed_after_its_time(strict):
    with connect(strict) as connection:
        connection.sendall(LIVE)
        one_answer(connection)
        assert 0.6 < until_closed(connection)[1] < 2.5


def test_a_body_that_trickles_is_told_408(strict):
    with connect(strict) as connection:
        connection.sendall(post(b"/v1/candidates", b"content-length: 100") + b"{")
        began = time.perf_counter()
        assert one_answer(connection)[0] == 408
        assert time.perf_counter() - began < 2
        assert until_closed(connection)[1] < 2


def test_the_rest_of_a_refused_body_holds_a_connection_for_a_short_time_only(strict):
    with connect(strict) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        assert one_answer(connection)[0] == 404
        began = time.perf_counter()
        with pytest.raises(ConnectionError):
            send_until(connection, b"x", pause_s=0.02)
        assert time.perf_counter() - began < 3


def test_a_refused_body_that_comes_whole_leaves_the_connection_usable(strict):
    with connect(strict) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n")
        assert one_answer(connection)[0] == 404
        connection.sendall(b"0123456789" + LIVE)
        assert one_answer(connection) == (200, {"live": True})
        assert until_closed(connection)[1] < 3


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_that_is_too_large_is_told_413(strict, framing):
    size = 5_000_000
    with connect(strict) as connection:
        header = b"content-length: %d" % size if framing == "length" else b"transfer-encoding: chunked"
        connection.sendall(post(b"/v1/events", header))

        def send():
            try:
                for _ in range(size // 50_000):
                    piece = b"x" * 50_000
                    connection.sendall(piece if framing == "length" else b"c350\r\n" + piece + b"\r\n")
            except OSError:
                pass

        sender = threading.Thread(target=send)
        sender.start()
        assert one_answer(connection)[0] == 413
        sender.join()
        assert until_closed(connection)[1] < 3


@pytest.mark.parametrize(
    "headers",
    [
        b"x: " + b"y" * 5000,
        b"\r\n".join(b"x%d: y" % number for number in range(30)),
        b"\r\n".join(b"x%d: %s" % (number, b"y" * 500) for number in range(12)),
    ],
    ids=["one that is long", "many", "many that are long"],
)
def test_too_many_headers_are_told_431(strict, headers):
    with connect(strict) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n" + headers + b"\r\n\r\n")
        data, _ = until_closed(connection)
    assert status_of(data) == 431
    assert json.loads(data.partition(b"\r\n\r\n")[2])["error"]["code"] == "headers_too_large"


def test_a_path_that_is_too_long_is_told_431(strict):
    with connect(strict) as connection:
        connection.sendall(b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n\r\n")
        assert status_of(until_closed(connection)[0]) == 431


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_header_without_an_end_does_not_fill_the_memory(strict):
    before = resident_bytes()
    with connect(strict) as connection:
        began = time.perf_counter()
        connection.sendall(b"GET /livez HTTP/1.1\r\nx: ")
        with pytest.raises(ConnectionError):
            send_until(connection, b"y" * 65536)
        assert time.perf_counter() - began < 5
    assert resident_bytes() - before < 50_000_000


def test_a_header_without_an_end_is_told_431_by_its_bytes_and_the_client_can_read_it(serve):
    running = serve(header_timeout_s=60, most_header_bytes=4096)
    with connect(running) as connection:
        began = time.perf_counter()
        # All of it is on its way when the server refuses: closing at once would reset the connection.
        connection.sendall(b"GET /livez HTTP/1.1\r\nx: " + b"y" * 4_000_000)
        time.sleep(0.2)
        connection.sendall(b"y")
        assert one_answer(connection)[0] == 431
        assert time.perf_counter() - began < 5


def test_requests_without_a_pause_do_not_fill_the_memory_and_those_that_were_taken_are_answered(strict):
    before = resident_bytes()
    with connect(strict) as connection:
        began = time.perf_counter()
        connection.settimeout(2)
        with pytest.raises(OSError):  # noqa: PT011 - reset, broken pipe or a timeout where the buffers are full
            send_until(connection, LIVE * 1000)
        assert time.perf_counter() - began < 8
    with connect(strict) as connection:
        connection.sendall(LIVE * 300)
        data, _ = until_closed(connection)
        assert data.count(b"200 OK") == 101
    assert resident_bytes() - before < 50_000_000


def test_trailers_count_as_headers(strict):
    with connect(strict) as connection:
        trailers = b"".join(b"x%d: y\r\n" % number for number in range(200))
        connection.sendall(post(b"/v1/candidates", b"transfer-encoding: chunked") + b"0\r\n" + trailers + b"\r\n")
        assert status_of(until_closed(connection)[0]) == 431


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"NONSENSE / HTTP/1.1\r\n\r\n",
     b"GET /livez HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
     b"POST /v1/events HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
     b"POST /v1/events HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
)  # fmt: skip
def test_what_is_not_http_is_told_400_and_closed(strict, data):
    with connect(strict) as connection:
        connection.sendall(data)
        said, took_s = until_closed(connection)
    assert status_of(said) in (400, 415)
    assert took_s < 3


def test_more_connections_than_the_limit_are_told_503_and_the_others_go_on(strict):
    time.sleep(1)
    held = [connect(strict) for _ in range(20)]
    try:
        for connection in held:
            connection.sendall(LIVE)
            one_answer(connection)
        with connect(strict) as extra:
            extra.sendall(LIVE)
            data, _ = until_closed(extra)
            assert status_of(data) == 503
            assert b"retry-after" in data
        held[0].sendall(LIVE)
        assert one_answer(held[0])[0] == 200
    finally:
        for connection in held:
            connection.close()
    time.sleep(0.2)
    with connect(strict) as connection:
        connection.sendall(LIVE)
        assert one_answer(connection)[0] == 200


def test_a_client_that_reads_nothing_is_cut_off(strict):
    with connect(strict) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        asked = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"
        began = time.perf_counter()
        connection.settimeout(3)
        with pytest.raises(OSError):  # noqa: PT011 - reset, broken pipe or, where the buffers are full, a timeout
            send_until(connection, asked * 10)
        assert time.perf_counter() - began < 15
    assert strict.client.get("/livez").status_code == 200


def test_a_client_that_leaves_in_the_middle_of_its_body_is_noted_as_gone(serve):
    running = serve()
    with connect(running) as connection:
        connection.sendall(post(b"/v1/candidates", b"content-length: 100") + b"{")
        time.sleep(0.1)
    (line,) = running.lines(1)
    assert (line["status"], line["route"]) == (499, "/v1/candidates")
    assert running.edge.bodies.buffered_bytes == 0


def test_a_client_that_leaves_before_its_answer_harms_nobody(serve):
    running = serve(serve_threads=1)
    running.service.answer_delay_s = 0.2
    for _ in range(3):
        with connect(running) as connection:
            connection.sendall(post(b"/v1/candidates", b"content-length: 2") + b"{}")
            time.sleep(0.02)
    running.service.answer_delay_s = 0.0
    assert running.client.post("/v1/candidates", json={"deadline_ms": 5000}).status_code == 200
    assert running.edge.bodies.buffered_bytes == 0


def test_expecting_100_is_told_to_go_on_or_why_not(strict):
    with connect(strict) as connection:
        connection.sendall(post(b"/v1/candidates", b"content-length: 21", b"expect: 100-continue"))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b'{"deadline_ms": 5000}')
        assert one_answer(connection)[0] == 200
    with connect(strict) as connection:
        connection.sendall(post(b"/v1/candidates", b"content-length: 200000", b"expect: 100-continue"))
        assert one_answer(connection)[0] == 413


@pytest.mark.parametrize("given", ["abc", "x" * 128, "!~"])
def test_a_request_id_is_given_back(strict, given):
    answer = strict.client.get("/livez", headers={"x-request-id": given})
    assert answer.headers["x-request-id"] == given


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"a b", b"\xe9"])
def test_a_bad_request_id_is_refused_and_another_one_given(strict, given):
    answer = strict.client.get("/livez", headers={b"x-request-id": given})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request_id"
    assert answer.headers["x-request-id"] == answer.json()["error"]["request_id"] != ""


def test_each_request_is_one_line_without_ids_of_people(serve):
    running = serve()
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    running.client.post(
        "/v1/candidates", json={"user_id": "secret-user", "k": 5, "deadline_ms": 5000}, headers={"traceparent": trace}
    )
    running.client.get("/nowhere/secret-path?secret-query", headers={"traceparent": "nonsense"})
    first, second = running.lines(2)
    assert first["traceparent"] == trace
    assert (first["route"], first["method"], first["status"], first["level"]) == ("/v1/candidates", "POST", 200, "info")
    assert (first["version"], first["k"], first["found"], first["partial"], first["degraded"]) == (
        "run-a",
        5,
        0,
        True,
        [],
    )
    assert 0 < first["duration_s"] < 5
    assert (second["route"], second["status"]) == ("unmatched", 404)
    assert "traceparent" not in second
    assert "secret" not in running.log.getvalue()
