from __future__ import annotations

import pytest

from tallystick.errors import UpstreamUnreachable
from tallystick.providers.destination import Destination, Origin


def lines(destination: Destination) -> list[str]:
    return ("POST" + destination.head.decode()).split("\r\n")


def test_the_head_is_complete_but_for_the_length() -> None:
    assert lines(Destination("https://api.example/v1/x?a=b#c", {"Authorization": "Bearer k", "ACCEPT": "a/b"})) == [
        "POST /v1/x?a=b HTTP/1.1",
        "host: api.example",
        "accept: a/b",
        "accept-encoding: identity",
        "content-type: application/json",
        "user-agent: tallystick",
        "authorization: Bearer k",
        "content-length: ",
    ]


@pytest.mark.parametrize(
    ("url", "origin", "host"),
    [
        ("http://h", Origin("http", "h", 80), "h"),
        ("https://H:443/", Origin("https", "h", 443), "h"),
        ("https://h:80/", Origin("https", "h", 80), "h:80"),
        ("http://[::1]:8080/v1", Origin("http", "::1", 8080), "[::1]:8080"),
        ("https://bücher.example/", Origin("https", "xn--bcher-kva.example", 443), "xn--bcher-kva.example"),
    ],
)
def test_origins(url: str, origin: Origin, host: str) -> None:
    destination = Destination(url, {})
    assert (destination.origin, destination.headers["host"]) == (origin, host)


def test_an_origin_shows_nothing_of_the_path() -> None:
    assert str(Destination("http://user:secret@[::1]:1/secret?secret", {}).origin) == "http://[::1]:1"


def test_a_login_in_the_url_becomes_a_header_unless_there_is_one() -> None:
    assert Destination("http://a%40:b@h/", {}).headers["authorization"] == "Basic YUA6Yg=="
    assert Destination("http://a:b@h/", {"Authorization": "own"}).headers["authorization"] == "own"


def test_what_frames_a_message_is_not_for_others_to_set() -> None:
    given = {"Content-Length": "7", "Transfer-Encoding": "chunked", "Connection": "close", "Expect": "100-continue"}
    head = Destination("http://h/", given).head.lower()
    assert head.count(b"content-length") == 1
    assert not any(name in head for name in (b"transfer-encoding", b"connection", b"expect"))


def test_a_target_is_one_line() -> None:
    assert lines(Destination("http://h/a b/ü?x=%20y z\x7f", {}))[0] == "POST /a%20b/%C3%BC?x=%20y%20z%7F HTTP/1.1"


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://h/", {"x": "a\r\ny: b"}),
        ("http://h/", {"x": "a\n"}),
        ("http://h/", {"x": "a\0"}),
        ("http://h/", {"x y": "a"}),
        ("http://h/", {"": "a"}),
        ("ftp://h/", {}),
        ("/v1", {}),
        ("http:///v1", {}),
        ("http://h:99999/", {}),
        ("http://h:x/", {}),
        ("http://[::1/", {}),
        ("http://h\u2028h/", {}),
        ("http://a b/", {}),
    ],
)
def test_what_can_not_be_sent(url: str, headers: dict[str, str]) -> None:
    with pytest.raises(UpstreamUnreachable):
        Destination(url, headers)
