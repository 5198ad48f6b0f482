"""Who may do what on a real server: role by endpoint by namespace by state of the token.

What is refused must leave no trace: after each attempt the store is asked by somebody who may.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import zstandard

from tests.servers import vcache_serve
from vcache.entry import Entry, Record, make_key
from vcache.hash import digest
from vcache.server.callers import Role
from vcache.server.tokens import TokenFile
from vcache.store.objects import name_of, pack

pytestmark = pytest.mark.e2e


def tar(content: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


def native(content: bytes) -> tuple[str, bytes]:
    key = make_key(content)
    start, body = pack(Record(Entry(key, digest(content), len(content)).encode(), content))
    return f"/vcache/{name_of(key)}", start + bytes(body)


def paths(content: bytes) -> dict[str, tuple[str, bytes]]:
    """By endpoint: where this content goes, and the body of its PUT."""
    sha = hashlib.sha256(content).hexdigest()
    hexa = digest(content).hex()
    return {
        "native": native(content),
        "cas": (f"/inst/cas/{sha}", content),
        "ac": (f"/inst/ac/{sha}", b"opaque " + content),
        "ccache": (f"/ccache/{hexa[:2]}/{hexa[2:40]}", content),
        "dav": (f"/dav/{hexa}", content),
        "s3": (f"/s3/bucket/{hexa}", content),
        "turbo": (f"/v8/artifacts/{hexa[:16]}", zstandard.compress(tar(content))),
        "nx": (f"/v1/cache/{int(hexa[:12], 16)}", gzip.compress(tar(content), mtime=0)),
        "gradle": (f"/gradle/{hexa[:32]}", gzip.compress(tar(content), mtime=0)),
        "maven": (f"/maven/v1.2/g/a/{hexa}/buildinfo.xml", content),
        "api": (f"/api/v1/values/{hexa}", content),
    }


ENDPOINTS = tuple(paths(b""))
RESULTS = {"ac", "turbo", "nx", "gradle", "maven", "ccache"}
WHO = ("nobody", "garbage", "wrong", "expired", "revoked", "stranger", "reader", "writer", "builder", "admin")


class Site(NamedTuple):
    url: str
    tokens: dict[str, str]
    client: httpx.Client

    def ask(self, who: str, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.tokens[who]}"} if who != "nobody" else {}
        if method == "PUT" and "/v8/" in path:
            headers["x-artifact-duration"] = "5"
        return self.client.request(method, self.url + path, content=body, headers=headers)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place: Path = tmp_path_factory.mktemp("served")
    file = TokenFile(place / "tokens.json")
    tokens = {role.name.lower(): file.add(role, "main")[1] for role in Role if role}
    tokens["stranger"] = file.add(Role.ADMIN, "other")[1]
    tokens["expired"] = file.add(Role.ADMIN, "main", expires_ns=time.time_ns())[1]
    row, tokens["revoked"] = file.add(Role.ADMIN, "main")
    file.revoke(row.id)
    tokens["garbage"] = "garbage"
    tokens["wrong"] = tokens["admin"][:-4] + "AAAA"
    with vcache_serve(place / "store", "--tokens", place / "tokens.json") as server, httpx.Client() as client:
        yield Site(server.url, tokens, client)


def is_allowed(status: int) -> bool:
    return 200 <= status < 400


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("who", WHO)
def test_reading(site: Site, endpoint: str, who: str) -> None:
    """Only who has a valid token of that namespace gets what is in it."""
    content = f"read {endpoint} {who}".encode()
    path, body = paths(content)[endpoint]
    assert is_allowed(site.ask("builder", "PUT", path, body).status_code)
    for method in ("GET", "HEAD"):
        status = site.ask(who, method, path).status_code
        assert is_allowed(status) == (who in ("reader", "writer", "builder", "admin")), (method, status)
    got = site.ask(who, "GET", path)
    assert (content in got.content or got.content == body) == (
        who in ("reader", "writer", "builder", "admin")
    )


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("who", WHO)
def test_writing(site: Site, endpoint: str, who: str) -> None:
    """Only writers put, and what others try leaves nothing behind."""
    path, body = paths(f"write {endpoint} {who}".encode())[endpoint]
    status = site.ask(who, "PUT", path, body).status_code
    may = who in ("writer", "builder", "admin")
    assert is_allowed(status) == (may or who == "stranger"), status
    assert is_allowed(site.ask("admin", "GET", path).status_code) == may
    assert is_allowed(site.ask("stranger", "GET", path).status_code) == (who == "stranger")


@pytest.mark.parametrize("endpoint", ["native", "ccache", "dav", "s3", "api"])
@pytest.mark.parametrize("who", WHO)
def test_deleting(site: Site, endpoint: str, who: str) -> None:
    """Only writers delete, and only in their own namespace."""
    path, body = paths(f"delete {endpoint} {who}".encode())[endpoint]
    assert is_allowed(site.ask("admin", "PUT", path, body).status_code)
    site.ask(who, "DELETE", path)
    may = who in ("writer", "builder", "admin")
    assert is_allowed(site.ask("admin", "GET", path).status_code) == (not may)


@pytest.mark.parametrize("who", WHO)
def test_batches(site: Site, who: str) -> None:
    """The batch calls of the own dialect give and take no more than single ones do."""
    content = f"batch {who}".encode()
    path, body = native(content)
    name = path.removeprefix("/vcache/")
    site.ask("builder", "PUT", path, body)
    may_read = who in ("reader", "writer", "builder", "admin")
    assert (content in site.ask(who, "POST", "/vcache/-/get", name.encode()).content) == may_read
    listed = site.ask(who, "GET", "/vcache/-/list?prefix=")
    assert (make_key(content).hex() in listed.text) == may_read
    other, more = native(content + b" more")
    site.ask(who, "POST", "/vcache/-/put", len(more).to_bytes(8, "little") + more)
    assert is_allowed(site.ask("admin", "GET", other).status_code) == (who in ("writer", "builder", "admin"))


SENDERS = {
    "lines": ("/api/v1/logs", "application/json", '{{"message":"{0}"}}'),
    "otlp": ("/v1/logs", "application/json",
             '{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"{0}"}}}}]}}]}}]}}'),
    "loki": ("/loki/api/v1/push", "application/json", '{{"streams":[{{"stream":{{}},"values":[["1","{0}"]]}}]}}'),
    "elastic": ("/elastic/_bulk", "application/x-ndjson", '{{"index":{{}}}}\n{{"message":"{0}"}}\n'),
}  # fmt: skip


@pytest.mark.parametrize("endpoint", SENDERS)
@pytest.mark.parametrize("who", WHO)
def test_logs(site: Site, endpoint: str, who: str) -> None:
    """Only writers send records, only who has a token of that namespace reads them, only admins seal."""
    said = f"log_{endpoint}_{who}"
    path, kind, form = SENDERS[endpoint]
    headers = {"content-type": kind}
    if who != "nobody":
        headers["authorization"] = f"Bearer {site.tokens[who]}"
    sent = site.client.post(site.url + path, content=form.format(said), headers=headers)
    may = who in ("writer", "builder", "admin")
    assert is_allowed(sent.status_code) == (may or who == "stranger"), sent.text
    query = f"/api/v1/logs/query?q=message='{said}'"
    for asks in ("admin", "stranger"):
        found = said in site.ask(asks, "GET", query).text.partition('{"@end"')[0]
        assert found == (may if asks == "admin" else who == "stranger")
    may_read = who in ("reader", "writer", "builder", "admin", "stranger")
    for asked in (query, "/api/v1/logs/stats", "/api/v1/logs/histogram"):
        assert is_allowed(site.ask(who, "GET", asked).status_code) == may_read
    if not may_read:
        assert site.ask(who, "GET", "/api/v1/logs/tail").status_code == 401
    sealed = site.ask(who, "POST", "/api/v1/logs/seal").status_code
    assert is_allowed(sealed) == (who in ("admin", "stranger")), sealed


@pytest.mark.parametrize("who", WHO)
def test_jobs(site: Site, who: str) -> None:
    """Writers ask for jobs of their own namespace, readers look at them, builders work; strangers see none of it."""
    may = who in ("writer", "builder", "admin")
    may_read = may or who == "reader"
    asked = site.ask(who, "POST", "/api/v1/jobs", json.dumps({"kind": f"kind-{who}"}).encode())
    assert is_allowed(asked.status_code) == (may or who == "stranger"), asked.text
    for asks in ("admin", "stranger"):
        stats = site.ask(asks, "GET", "/api/v1/queues/stats").text
        assert (f"kind-{who}" in stats) == (may if asks == "admin" else who == "stranger")
    (job,) = [site.ask("admin", "POST", "/api/v1/jobs", b'{"kind":"other"}').json()]
    path = f"/api/v1/jobs/{job['id']}"
    assert is_allowed(site.ask(who, "GET", path).status_code) == may_read
    assert is_allowed(site.ask(who, "DELETE", path).status_code) == may
    assert site.ask("admin", "GET", path).json()["state"] == ("cancelled" if may else "queued")
    limited = site.ask(who, "PUT", "/api/v1/queues/limits/other", b'{"running":5}')
    assert is_allowed(limited.status_code) == (who in ("builder", "admin", "stranger"))
    opened = site.ask(who, "POST", "/api/v1/queue/open-session", b"\x93\xa1w\x90\x0a")
    assert is_allowed(opened.status_code) == (who in ("builder", "admin", "stranger")), opened.text
    metrics = site.ask(who, "GET", "/metrics")
    assert ('kind="other"' in metrics.text) == (may_read or who == "stranger")  # a stranger here is an admin


def test_probes_are_for_everybody(site: Site) -> None:
    """What says that the server is alive asks for no token, and says nothing of its content."""
    for path in ("/healthz", "/readyz"):
        assert site.ask("nobody", "GET", path).status_code == 200


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_names_do_not_climb_out_of_a_namespace(site: Site, endpoint: str) -> None:
    """However a path is written, it leads to the caller's own namespace."""
    content = f"climb {endpoint}".encode()
    path, body = paths(content)[endpoint]
    assert is_allowed(site.ask("admin", "PUT", path, body).status_code)
    head, _, tail = path.rpartition("/")
    for text in (
        f"{head}/../{tail}", f"{head}/%2e%2e/{tail}", f"{head}/@main/{tail}", f"{head}/%00{tail}",
        f"{head}/@main:{endpoint}/{tail}", f"{head}//{tail}", f"/main{path}", f"/@main{path}",
    ):  # fmt: skip
        got = site.ask("stranger", "GET", text)
        assert content not in got.content
        assert got.content != body
        assert got.status_code < 500 or got.status_code == 501  # S3 has no such call here
