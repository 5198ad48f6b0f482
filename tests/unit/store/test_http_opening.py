"""Addresses of HTTP tiers."""

from __future__ import annotations

import base64
import socket
import sys

import pytest

from tests.servers import RawRequest, raw_http
from vcache.entry import make_key
from vcache.errors import ConfigError, StoreError
from vcache.store.address import Options, parse_url
from vcache.store.base import Store
from vcache.store.http import open_url

KEY = make_key("k")


def opened(address: str) -> Store:
    url = parse_url(address)
    return open_url(url, Options(url))


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VCACHE_TOKEN", raising=False)


def asked(address: str) -> tuple[str | None, str]:
    """What a store says of who asks, and what its error says to a 401."""
    with raw_http(_refuses) as server:
        store = opened(address.replace("HOST", server.address.removeprefix("http://")))
        with pytest.raises(StoreError) as caught:
            store.get(KEY)
        store.close()
        return server.requests[0].headers.get("authorization"), str(caught.value)


def _refuses(connection: socket.socket, request: RawRequest) -> None:
    connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_nobody_says_nothing() -> None:
    """without secrets there is no header, and a refusal says what to set"""
    header, message = asked("http://HOST/base")
    assert header is None
    assert "set VCACHE_TOKEN" in message


def test_the_usual_variable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """VCACHE_TOKEN is a bearer token, and the refusal names it, never what it holds"""
    monkeypatch.setenv("VCACHE_TOKEN", "geheim")
    header, message = asked("http://HOST/base")
    assert header == "Bearer geheim"
    assert "VCACHE_TOKEN" in message
    assert "geheim" not in message


def test_a_variable_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """token=NAME is asked before VCACHE_TOKEN"""
    monkeypatch.setenv("VCACHE_TOKEN", "usual")
    monkeypatch.setenv("CI_TOKEN", "geheim")
    header, message = asked("http://HOST/base?token=CI_TOKEN")
    assert header == "Bearer geheim"
    assert "CI_TOKEN" in message
    assert "geheim" not in message


@pytest.mark.parametrize("userinfo", ["me:ge%40heim", "me:ge@heim"])
def test_a_password_in_the_address_stays_there(userinfo: str) -> None:
    """user:password@ is basic authentication, percent-decoded, and shown nowhere"""
    header, message = asked(f"http://{userinfo}@HOST/base")
    assert header == basic("me:ge@heim")
    assert "heim" not in message
    store = opened(f"http://{userinfo}@h.example:8080/base/")
    assert store.info.url == "http://h.example:8080/base"
    store.close()


def test_a_user_with_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """user= and password_env= are basic authentication"""
    monkeypatch.setenv("PW", "geheim")
    header, message = asked("http://HOST/base?user=me&password_env=PW")
    assert header == basic("me:geheim")
    assert "'me'" in message
    assert "PW" in message
    assert "geheim" not in message


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http:///base", "write http"),
        ("http://", "write http"),
        ("http:host/base", "write http"),
        ("http://host:99999/base", "address"),
        ("http://host:x/base", "address"),
        ("http://ho st/base", "address"),
        ("http://host/base#part", "write http"),
        ("http://host/base?token=NOT_SET_ANYWHERE", "not set"),
        ("http://host/base?user=me", "go together"),
        ("http://host/base?password_env=PATH", "go together"),
        ("http://host/base?user=me&token=PATH", "several ways"),
        ("http://me:pw@host/base?token=PATH", "several ways"),
        ("http://host/base?layout=maven", "auto and bazel"),
        ("http://host/base?tokn=PATH", "did you mean 'token'"),
        ("https://host/base?ca=/nowhere.pem", "ca='/nowhere.pem'"),
        ("https://host/base?cert=/nowhere.pem", "cert="),
    ],
)
def test_a_mistake_is_named(address: str, words: str) -> None:
    """an address that makes no sense is refused when it is opened, with what to write"""
    with pytest.raises(ConfigError, match=words):
        opened(address)


def test_a_secret_in_the_wrong_place_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """a token given where a variable's name belongs is not in the message, nor is one with a line end"""
    with pytest.raises(ConfigError) as caught:
        opened("http://host/base?token=ghp_geheim")
    assert "geheim" not in str(caught.value)
    monkeypatch.setenv("VCACHE_TOKEN", "geheim\r\nX-Other: 1")
    with pytest.raises(ConfigError, match="VCACHE_TOKEN") as caught:
        opened("http://host/base")
    assert "geheim" not in str(caught.value)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """without pycurl the error names the extra"""
    for name in ("vcache.store.http.curl", "vcache.store.http.crew"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    package = sys.modules["vcache.store.http"]
    for name in ("curl", "crew"):
        monkeypatch.delattr(package, name, raising=False)
    monkeypatch.setitem(sys.modules, "pycurl", None)
    with pytest.raises(ConfigError, match=r"pip install 'vcache\[http\]'"):
        opened("http://host/base")


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("http://HOST", "/vcache/006b"),
        ("http://HOST/", "/vcache/006b"),
        ("http://HOST/a/b/", "/a/b/vcache/006b"),
        ("http://HOST/a b/ü/../%2e", "/a%20b/%C3%BC/../%2E/vcache/006b"),
    ],
)
def test_a_path_is_sent_as_it_was_written(address: str, target: str) -> None:
    """what is no part of a path is encoded, and nothing else changes but the case of %2e"""
    with raw_http(_refuses) as server:
        store = opened(address.replace("HOST", server.address.removeprefix("http://")))
        with pytest.raises(StoreError):
            store.get(b"\0k")
        store.close()
        assert server.requests[0].line == f"GET {target} HTTP/1.1"


def test_nothing_is_sent_before_the_first_operation() -> None:
    """opening and closing a tier asks nobody"""
    with raw_http(_refuses) as server:
        opened(f"{server.address}/base").close()
        assert server.requests == []
