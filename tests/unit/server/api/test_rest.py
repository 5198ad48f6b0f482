"""The REST API: what it gives, keeps, lists, and to whom."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.desks import on_thread
from vcache.cache import Cache
from vcache.server.api.openapi import OPERATIONS
from vcache.server.api.resources import Office
from vcache.server.api.rest import Rest
from vcache.server.app import App
from vcache.server.auth import Authenticator
from vcache.server.callers import Caller, Role
from vcache.server.exchange import Desk
from vcache.server.quotas import Quotas
from vcache.server.tokens import TokenFile
from vcache.server.vault import Kept, Vault
from vcache.store.disk import DiskStore


class Server:
    """An application without a socket, and its tokens."""

    def __init__(self, path: Path, *, is_open: bool = False, limit_bytes: int = 1 << 20) -> None:
        self.path = path
        self.store = DiskStore(path / "store")
        self.tokens = TokenFile(path / "server" / "tokens.json")
        self.vault = Vault(self.store)
        self.notes: list[tuple[str, str]] = []
        self.auth = Authenticator(None if is_open else {})
        self.quotas = Quotas(self.store, {"small": 100})
        desk = Desk(
            self.vault,
            limit_bytes,
            path,
            on_thread,
            lambda caller, length: self.quotas.admit(caller.namespace, length),
            self._changed,
        )
        office = Office(
            self.vault,
            None if is_open else self.tokens,
            self.quotas,
            path / "server" / "audit.jsonl",
            self._note,
            self.reload,
            lambda: {"dropped": 0, "freed_bytes": 0},
        )
        self.app = App(desk, [Rest(desk, office, version="1")], self.auth)

    def _changed(
        self, caller: Caller, action: str, _dialect: str, _realm: str, name: str | bytes, kept: Kept | None
    ) -> None:
        if kept is not None:
            self.quotas.add(caller.namespace, kept.size_bytes)
        self._note(caller, action, str(name))

    def _note(self, caller: Caller, action: str, name: str) -> None:
        self.notes.append((action, name))

    def reload(self) -> None:
        self.auth.reload(self.tokens.rows(), builders_only=frozenset())

    def token(self, namespace: str = "main", role: Role = Role.WRITER) -> dict[str, str]:
        _, text = self.tokens.add(role, namespace)
        self.reload()
        return {"authorization": f"Bearer {text}"}

    def __call__(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, f"/api/v1{path}", headers=dict(headers or {}), **more)

        return asyncio.run(ask())


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture
def open_server(tmp_path: Path) -> Server:
    return Server(tmp_path, is_open=True)


def test_a_value_comes_back(server: Server) -> None:
    """What is put under a name is given under it, with a tag that names its content."""
    token = server.token()
    put = server("PUT", "/values/a/b%20c", headers=token, content=b"hello")
    assert put.status_code == 201
    got = server("GET", "/values/a/b%20c", headers=token)
    assert (got.status_code, got.content) == (200, b"hello")
    assert got.headers["etag"] == put.headers["etag"]
    assert got.headers["content-type"] == "application/octet-stream"
    head = server("HEAD", "/values/a/b%20c", headers=token)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "5")
    assert server("PUT", "/values/a/b%20c", headers=token, content=b"other").status_code == 204
    assert server("GET", "/values/a/b%20c", headers=token).content == b"other"
    assert server("DELETE", "/values/a/b%20c", headers=token).status_code == 204
    assert server("DELETE", "/values/a/b%20c", headers=token).status_code == 404
    assert server("GET", "/values/a/b%20c", headers=token).status_code == 404
    assert server.notes == [("put", "a/b c"), ("put", "a/b c"), ("delete", "a/b c")]


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [("bytes=0-2", 206, b"012"), ("bytes=7-", 206, b"789"), ("bytes=-3", 206, b"789"), ("bytes=2-99", 206, b"23456789"),
     ("bytes=10-", 416, None), ("bytes=5-4", 416, None), ("lines=1-2", 200, b"0123456789"),
     ("bytes=0-1,3-4", 200, b"0123456789"), ("nonsense", 200, b"0123456789")],
)  # fmt: skip
def test_parts_of_a_value(server: Server, asked: str, status: int, content: bytes | None) -> None:
    """A range is given as RFC 9110 has it; what is no single range of bytes gives the whole."""
    token = server.token()
    server("PUT", "/values/x", headers=token, content=b"0123456789")
    got = server("GET", "/values/x", headers={**token, "range": asked})
    assert got.status_code == status
    if content is not None:
        assert got.content == content


def test_conditions_hold(server: Server) -> None:
    """A PUT that names what it replaces replaces nothing else; a known value is not sent again."""
    token = server.token()
    first = server("PUT", "/values/x", headers={**token, "if-none-match": "*"}, content=b"1")
    assert first.status_code == 201
    assert (
        server("PUT", "/values/x", headers={**token, "if-none-match": "*"}, content=b"2").status_code == 412
    )
    tag = first.headers["etag"]
    assert server("GET", "/values/x", headers={**token, "if-none-match": tag}).status_code == 304
    second = server("PUT", "/values/x", headers={**token, "if-match": tag}, content=b"3")
    assert second.status_code == 204
    assert server("PUT", "/values/x", headers={**token, "if-match": tag}, content=b"4").status_code == 412
    assert server("PUT", "/values/new", headers={**token, "if-match": "*"}, content=b"4").status_code == 412
    assert server("DELETE", "/values/x", headers={**token, "if-match": tag}).status_code == 412
    assert server("GET", "/values/x", headers=token).content == b"3"


def test_what_is_put_counts_towards_the_budget(server: Server) -> None:
    """Each PUT has the store's budget looked after, as those of all dialects do."""
    looked: list[int] = []
    server.vault.after_put = lambda: looked.append(1)
    token = server.token()
    server("PUT", "/values/x", headers=token, content=b"1")
    server("PUT", "/values/y", headers=token, content=b"2")
    assert len(looked) == 2


def test_it_is_the_cache_of_programs(open_server: Server) -> None:
    """On an open server the API and a local `Cache` see the same names."""
    with Cache(open_server.store) as cache:
        cache.put("text", "a" * 5000)
        cache.put("raw", b"a" * 9000)
        assert open_server("GET", "/values/raw").content == b"a" * 9000
        assert open_server("GET", "/values/text").headers["x-vcache-codec"] != "bytes"
        open_server("PUT", "/values/api?ttl=1h&tags=t,u", content=b"from afar")
        assert cache.get("api") == b"from afar"
        described = open_server("GET", "/describe/api").json()
        assert described["tags"] == ["t", "u"]
        assert described["expires_ns"] > described["created_ns"]
        open_server("PUT", "/values/gone?ttl=1ns", content=b"x")
        assert open_server("GET", "/values/gone").status_code in (404, 400)


def test_namespaces_never_meet(server: Server) -> None:
    """One namespace's values are not there for another, whatever name is asked for."""
    one, two = server.token("one"), server.token("two")
    server("PUT", "/values/x", headers=one, content=b"one's")
    for name in ("x", "@one/x", "%00x", "../one/x", "@one/%00sx", "/x"):
        assert server("GET", f"/values/{name}", headers=two).status_code in (400, 404)
        assert server("DELETE", f"/values/{name}", headers=two).status_code in (400, 404)
    assert server("GET", "/values", headers=two).json()["items"] == []
    assert [item["name"] for item in server("GET", "/values", headers=one).json()["items"]] == ["x"]


def test_pages_of_values(server: Server) -> None:
    """A long list comes in pages, in the order of names; a prefix narrows it."""
    token = server.token()
    names = [f"p/{number:02}" for number in range(7)] + ["q"]
    for name in names:
        server("PUT", f"/values/{name}", headers=token, content=b"x")
    seen: list[str] = []
    cursor = ""
    while True:
        page = server("GET", f"/values?limit=3{cursor}", headers=token).json()
        seen += [item["name"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == names
    some = server("GET", "/values?prefix=p/0", headers=token).json()["items"]
    assert [item["name"] for item in some] == names[:7]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=x", "limit=1001", "limit=", "cursor=x", "limit=-1", "limit=1e3"]
)
def test_a_page_that_cannot_be_is_refused(server: Server, query: str) -> None:
    """A wrong parameter is said with its value."""
    got = server("GET", f"/values?{query}", headers=server.token())
    assert got.status_code == 400
    assert got.headers["content-type"] == "application/problem+json"
    assert query.partition("=")[2] in got.json()["detail"]


def test_what_is_too_much_is_refused(server: Server) -> None:
    """A value above the limit or the quota is not taken, and what was there stays."""
    small = server.token("small")
    assert server("PUT", "/values/x", headers=small, content=bytes(90)).status_code == 201
    assert server("PUT", "/values/y", headers=small, content=bytes(90)).status_code == 507
    assert server("PUT", "/values/y", headers=server.token(), content=bytes(2 << 20)).status_code == 413
    assert server("GET", "/values/x", headers=small).content == bytes(90)


def test_usage_is_by_realm(server: Server) -> None:
    """A namespace's owner sees what it holds, and what it may hold."""
    token = server.token("small")
    server("PUT", "/values/x", headers=token, content=bytes(7))
    server.vault.put("small", "turbo", "t", bytes(5))
    usage = server("GET", "/usage", headers=token).json()
    assert usage["quota_bytes"] == 100
    assert usage["size_bytes"] == 12
    assert usage["realms"]["turbo"] == {"entries": 1, "size_bytes": 5}
    items = server("GET", "/artifacts?realm=turbo", headers=token).json()["items"]
    assert [item["name"] for item in items] == ["t"]


def test_admins_make_and_revoke_tokens(server: Server) -> None:
    """A token that was made works at once, and one that was revoked no longer."""
    admin = server.token("ops", Role.ADMIN)
    made = server(
        "POST", "/tokens", headers=admin, json={"namespace": "team", "role": "reader", "expires": "1d"}
    )
    assert made.status_code == 201
    holder = {"authorization": f"Bearer {made.json()['secret']}"}
    who = server("GET", "/whoami", headers=holder).json()
    assert (who["namespace"], who["role"]) == ("team", "reader")
    listed = server("GET", "/tokens", headers=admin).json()["items"]
    assert made.json()["secret"] not in str(listed)
    assert server("DELETE", f"/tokens/{made.json()['id']}", headers=admin).status_code == 200
    assert server("GET", "/whoami", headers=holder).status_code == 401
    assert server("DELETE", "/tokens/none", headers=admin).status_code == 404
    assert [action for action, _ in server.notes] == ["token", "revoke"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"1", b'{"namespace": "UP"}', b'{"namespace": 1}', b'{"role": "reader"}', b"\xff",
     b'{"namespace": "a", "role": "king"}', b'{"namespace": "a", "more": 1}',
     b'{"namespace": "a", "expires": "soon"}', b"[" * 30_000, b'{"namespace": "' + b"a" * 70_000 + b'"}'],
)  # fmt: skip
def test_a_wish_that_cannot_be_is_refused(server: Server, body: bytes) -> None:
    """A body that is no wish for a token makes none, and is told why."""
    admin = server.token("ops", Role.ADMIN)
    got = server("POST", "/tokens", headers=admin, content=body)
    assert got.status_code in (400, 413)
    assert len(server.tokens.rows()) == 1


ADMIN_ONLY = {"list_namespaces", "list_tokens", "make_token", "revoke_token", "list_audit", "collect"}
WRITES = {"put_value", "delete_value"}


def _asked(operation: Any) -> tuple[str, str]:
    path = operation.path.replace("{name}", "x").replace("{id}", "none")
    return operation.method.upper(), path


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.handler)
@pytest.mark.parametrize("role", [None, *(role for role in Role if role)], ids=str)
def test_each_role_may_do_what_is_its_own(server: Server, operation: Any, role: Role | None) -> None:
    """Role by operation: nothing is allowed that the table does not allow."""
    headers = {} if role is None else server.token("main", role)
    method, path = _asked(operation)
    more: dict[str, Any] = {"json": {"namespace": "new"}} if method == "POST" else {}
    status = server(method, path, headers=headers, **more).status_code
    if role is None:
        assert status == 401
    elif (operation.handler in ADMIN_ONLY and role < Role.ADMIN) or (
        operation.handler in WRITES and role < Role.WRITER
    ):
        assert status == 403
    else:
        assert status in (200, 201, 204, 404)


def test_an_open_server_has_no_tokens(open_server: Server) -> None:
    """Where nobody needs a token, none can be made."""
    assert open_server("GET", "/tokens").status_code == 409
    assert open_server("POST", "/tokens", json={"namespace": "a"}).status_code == 409
    assert open_server("GET", "/whoami").json()["role"] == "admin"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/values/x", 405),
        ("PATCH", "/tokens", 405),
        ("GET", "/values/", 400),
    ],
)
def test_what_is_not_there_is_said_as_a_problem(server: Server, method: str, path: str, status: int) -> None:
    """Unknown paths and methods are problems in JSON as well."""
    got = server(method, path, headers=server.token("ops", Role.ADMIN))
    assert got.status_code == status
    assert got.json()["status"] == status


def test_the_description_is_for_everybody(server: Server) -> None:
    """OpenAPI needs no token, and knows every operation that has a handler."""
    described = server("GET", "/openapi.json").json()
    ids = {item["operationId"] for path in described["paths"].values() for item in path.values()}
    assert ids == {operation.handler for operation in OPERATIONS}


def test_the_audit_log_is_paged(server: Server) -> None:
    """Admins read who changed what."""
    from vcache.server.audit import AuditLog

    log = AuditLog(server.path / "server" / "audit.jsonl")
    for number in range(5):
        log.append("put", {"name": f"n{number}"})
    admin = server.token("ops", Role.ADMIN)
    page = server("GET", "/audit?limit=3", headers=admin).json()
    assert [row["name"] for row in page["items"]] == ["n0", "n1", "n2"]
    rest = server("GET", f"/audit?limit=3&cursor={page['next']}", headers=admin).json()
    assert [row["name"] for row in rest["items"]] == ["n3", "n4"]
    log.close()
