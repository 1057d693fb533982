import socket
from collections.abc import Iterator
from typing import Any

import pytest

from everloop.serve.http.hosts import Hosts
from everloop.serve.http.messages import Refused

OK = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /v2/repository/index HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def wire(served: Any) -> Iterator[socket.socket]:
    with socket.create_connection((served.host, served.port), timeout=10) as one:
        yield one


def read_all(wire: socket.socket) -> bytes:
    data = b""
    while part := wire.recv(65536):
        data += part
    return data


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: +3\r\n\r\nabc", 400),
        (POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip\r\n\r\nabc", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n", 400),
        (b"GET /v2 HTTP/1.1\nHost: localhost\n\n", 400),
        (b"GET /v2 HTTP/1.1\r\nHost: localhost\nX: b\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: b\r\n c\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n", 400),
        (b"GET /v2\r\n\r\n", 505),
        (b"GET /v2 HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
        (POST + b"Content-Length: 600000\r\n\r\n", 413),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n93000\r\n" + b" " * 0x93000 + b"\r\n", 413),
    ],
)
def test_a_malformed_request_is_refused_and_the_connection_closed(
    wire: socket.socket, sent: bytes, status: int
) -> None:
    wire.sendall(sent)
    answer = read_all(wire)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"Connection: close" in answer
    assert b'{"error":"' in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_pipelined_requests_are_answered_in_order(wire: socket.socket) -> None:
    paths = [b"/v2/health/live", b"/v2/models", b"/nowhere", b"/v2/health/ready"]
    ask = [b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in paths]
    last = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    wire.sendall(b"".join(ask) * 200 + last)
    answer = read_all(wire)
    found = [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 ")[1:]]
    nothing = b'{"error":"there is nothing at this path"}'
    turn = [b'{"live":true}', b'{"models":["flights"]}', nothing, b'{"ready":true}']
    assert found[:-1] == turn * 200
    assert b'"extensions":[]' in found[-1]


def test_a_refusal_waits_for_the_answers_before_it(wire: socket.socket) -> None:
    wire.sendall(OK + b"GET /v2 HTTP/1.1\r\n\r\n" + OK)
    answer = read_all(wire)
    assert [answer.count(b"HTTP/1.1 %d" % status) for status in (200, 400)] == [1, 1]
    assert answer.index(b"200 OK") < answer.index(b"400 Bad")


def test_a_request_may_come_byte_by_byte(wire: socket.socket) -> None:
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for i in range(len(OK)):
        wire.sendall(OK[i : i + 1])
    assert wire.recv(65536).endswith(b'{"live":true}')


def test_a_body_may_come_in_chunks(wire: socket.socket) -> None:
    wire.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
    assert b'"state":"READY"' in wire.recv(65536)


def test_a_client_that_asks_first_is_told_to_continue(wire: socket.socket) -> None:
    wire.sendall(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert wire.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.sendall(b"{}")
    assert b'"state":"READY"' in wire.recv(65536)


def test_an_upgrade_is_not_taken_and_the_request_is_answered(wire: socket.socket) -> None:
    wire.sendall(
        b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n"
    )
    answer = read_all(wire)
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_half_a_close_still_gets_its_answer(wire: socket.socket) -> None:
    wire.sendall(OK)
    wire.shutdown(socket.SHUT_WR)
    assert read_all(wire).endswith(b'{"live":true}')


@pytest.mark.parametrize("end", [b"", b"GET /v2 HTTP/1.1\r\n\r\n"])
def test_what_stands_behind_a_prediction_is_answered_before_the_end(
    wire: socket.socket, end: bytes
) -> None:
    body = b'{"rows":[{"distance":1,"carrier":"AA"}]}'
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    wire.sendall((head + body + OK) * 3 + OK * 2 + end)
    wire.shutdown(socket.SHUT_WR)
    answer = read_all(wire)
    assert answer.count(b"200 OK") == 8
    assert answer.count(b'"predictions":[1001.0]') == 3
    assert answer.count(b"400 Bad") == (end != b"")


def test_an_old_client_is_served_and_closed(wire: socket.socket) -> None:
    wire.sendall(b"GET /v2/health/live HTTP/1.0\r\n\r\n")
    answer = read_all(wire)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Host: localhost:8080", 200),
        (b"Host: 127.0.0.1", 200),
        (b"Host: LOCALHOST", 200),
        (b"Host: [::1]:8080", 200),
        (b"Host: evil.example", 403),
        (b"Host: evil.example:8080", 403),
        (b"Host: localhost.evil.example", 403),
        (b"Host: 127.0.0.1.evil.example", 403),
        (b"Host: [::1].evil.example", 403),
        (b"Host: localhost\r\nOrigin: http://localhost:3000", 200),
        (b"Host: localhost\r\nOrigin: http://evil.example", 403),
        (b"Host: localhost\r\nOrigin: https://localhost.evil.example", 403),
        (b"Host: localhost\r\nOrigin: null", 403),
        (b"Host: localhost\r\nOrigin:", 403),
        (b"Host: evil.example\r\nOrigin: http://evil.example", 403),
    ],
)
def test_a_page_of_another_site_is_refused(
    wire: socket.socket, headers: bytes, status: int
) -> None:
    head = b"POST /v2/repository/index HTTP/1.1\r\n%s\r\nConnection: close\r\n"
    wire.sendall(head % headers + b"Content-Length: 0\r\n\r\n")
    answer = read_all(wire)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]


def test_where_everybody_is_answered_only_pages_of_other_sites_are_refused() -> None:
    hosts = Hosts("0.0.0.0", ["app.example"])
    hosts.check(b"POST", {b"host": b"models.example:8080"})
    hosts.check(b"POST", {b"host": b"models.example", b"origin": b"https://models.example"})
    hosts.check(b"POST", {b"host": b"models.example", b"origin": b"https://app.example"})
    hosts.check(b"GET", {b"host": b"models.example", b"origin": b"https://evil.example"})
    with pytest.raises(Refused, match="a page of another site asks"):
        hosts.check(b"POST", {b"host": b"models.example", b"origin": b"https://evil.example"})


def test_a_proxys_name_is_allowed_by_the_project_file() -> None:
    headers = {b"host": b"models.example"}
    Hosts("127.0.0.1", ["models.example"]).check(b"POST", headers)
    for local in ("127.0.0.1", "::1", "localhost"):
        with pytest.raises(Refused, match="names another machine"):
            Hosts(local).check(b"GET", headers)
