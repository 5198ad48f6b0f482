"""The WebDAV dialect."""

from __future__ import annotations

import errno
from xml.etree import ElementTree as ET

import pytest

from tests.unit.server.dialects.asking import READER
from tests.unit.server.dialects.bodies import zipped
from vcache.server.dialects.dav import Dav
from vcache.server.refused import Refusal, Refused

NAME = "/dav/scc/a/b/c/" + "abc" + "0" * 61


def listed(reply) -> dict[str, bool]:
    """What a PROPFIND tells: the addresses, and which of them are directories."""
    assert reply.status == 207
    assert reply.headers["content-type"].startswith("application/xml")
    found = {}
    for response in ET.fromstring(reply.body):
        assert response.findtext("{DAV:}propstat/{DAV:}status") == "HTTP/1.1 200 OK"
        href = response.findtext("{DAV:}href") or ""
        found[href] = response.find(".//{DAV:}collection") is not None
    return found


def test_files_come_and_go(asker) -> None:
    """201 where there was none, 204 where there was one."""
    ask = asker(Dav())
    assert ask("GET", "/dav/a").status == 404
    assert ask("PUT", "/dav/a", b"one").status == 201
    assert ask("PUT", "/dav/a", b"two").status == 204
    assert (ask("GET", "/dav/a").body, ask("HEAD", "/dav/a").headers["content-length"]) == (b"two", "3")
    assert (ask("DELETE", "/dav/a").status, ask("DELETE", "/dav/a").status) == (204, 404)


def test_every_directory_is_there(asker) -> None:
    """sccache asks for one before it writes, or makes it: one request, and it goes on."""
    ask = asker(Dav())
    body = b'<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>'
    reply = ask("PROPFIND", "/dav/scc/a/b/c/", body, {"depth": "0"})
    assert listed(reply) == {"/dav/scc/a/b/c/": True}
    assert ask("MKCOL", "/dav/scc/").status == 201
    assert ask("MKCOL", "/dav/").status == 405
    assert ask("MKCOL", "/dav/scc/", b"<x/>").status == 415


def test_a_request_is_never_parsed(asker) -> None:
    """Entities that would fill the memory are bytes like others."""
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'
    assert listed(asker(Dav())("PROPFIND", "/dav/", bomb, {"depth": "0"})) == {"/dav/": True}


def test_a_listing_tells_what_lies_directly_below(asker) -> None:
    """Names are escaped as addresses and as XML."""
    ask = asker(Dav())
    for name in ("a/one.o", "a/deep/er/two.o", "a/%C3%BC%20%26%20%3Cb%3E.o", "ab/other"):
        assert ask("PUT", f"/dav/{name}", b"12").status == 201
    assert listed(ask("PROPFIND", "/dav/a/", headers={"depth": "1"})) == {
        "/dav/a/": True, "/dav/a/deep/": True, "/dav/a/one.o": False, "/dav/a/%C3%BC%20%26%20%3Cb%3E.o": False,
    }  # fmt: skip
    assert listed(ask("PROPFIND", "/dav/", headers={"depth": "1"})) == {
        "/dav/": True, "/dav/a/": True, "/dav/ab/": True,
    }  # fmt: skip
    assert listed(ask("PROPFIND", "/dav/a", headers={"depth": "0"})) == {"/dav/a/": True}
    assert listed(ask("PROPFIND", "/dav/a/one.o", headers={"depth": "0"})) == {"/dav/a/one.o": False}
    assert ask("PROPFIND", "/dav/none", headers={"depth": "0"}).status == 404
    assert ask("PROPFIND", "/dav/a/").status == 403  # without an end to it


def test_a_file_tells_its_length_and_mark(asker) -> None:
    """The ETag of the listing is that of the answer, and asks again for nothing."""
    ask = asker(Dav())
    ask("PUT", "/dav/a", b"0123456789")
    told = ET.fromstring(ask("PROPFIND", "/dav/a", headers={"depth": "0"}).body)
    assert told.findtext(".//{DAV:}getcontentlength") == "10"
    etag = ask("GET", "/dav/a").headers["etag"]
    assert told.findtext(".//{DAV:}getetag") == etag
    again = ask("GET", "/dav/a", headers={"if-none-match": etag})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [("bytes=2-4", 206, b"234"), ("bytes=7-", 206, b"789"), ("bytes=-3", 206, b"789"), ("bytes=0-99", 206, b"0123456789"),
     ("bytes=10-", 416, None), ("bytes=-0", 416, None), ("bytes=5-4", 416, None), ("bytes=0-1,3-4", 200, b"0123456789"),
     ("lines=1-2", 200, b"0123456789"), ("bytes=-", 200, b"0123456789")],
)  # fmt: skip
def test_a_range_gives_a_part(asker, asked, status, body) -> None:
    """One range of bytes; what is not understood is answered whole (RFC 9110, 14.2)."""
    ask = asker(Dav())
    ask("PUT", "/dav/a", b"0123456789")
    reply = ask("GET", "/dav/a", headers={"range": asked})
    assert reply.status == status
    assert body is None or reply.body == body


def test_a_part_is_given_only_of_the_value_that_the_client_began(asker) -> None:
    """`If-Range` with another tag, or a date, is answered whole: no download goes on with another's bytes."""
    ask = asker(Dav())
    ask("PUT", "/dav/a", b"0123456789")
    etag = ask("GET", "/dav/a").headers["etag"]
    asked = {"range": "bytes=5-"}
    assert ask("GET", "/dav/a", headers={**asked, "if-range": etag}).body == b"56789"
    ask("PUT", "/dav/a", b"abcdefghij")
    for other in (etag, f"W/{etag}", "Thu, 01 Jan 1970 00:00:00 GMT"):
        reply = ask("GET", "/dav/a", headers={**asked, "if-range": other})
        assert (reply.status, reply.body) == (200, b"abcdefghij")


def test_a_disk_that_is_full_while_a_body_comes_is_said(asker, monkeypatch, caplog) -> None:
    """It is 507, as where the store itself has no room, is no error of ours, and leaves nothing."""

    def feed(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    ask = asker(Dav())
    monkeypatch.setattr("vcache.server.intake._feed", feed)
    reply = ask("PUT", "/dav/a", bytes(3 << 20), pieces=1 << 20)
    assert (reply.status, b"No space left" in reply.body) == (507, True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_zip_is_kept_only_whole(asker) -> None:
    """sccache's objects are; what is no zip, such as its probe, is kept as it is."""
    ask = asker(Dav())
    body = zipped({"obj": b"\x28\xb5\x2f\xfd" + bytes(3000), "stderr": b""})
    assert ask("PUT", NAME, body[:-30]).status == 400
    assert ask("GET", NAME).status == 404
    assert ask("PUT", NAME, body).status == 201
    assert ask("PUT", "/dav/scc/.sccache_check", b"Hello, World!").status == 201


def test_a_reader_is_told_so(asker) -> None:
    """sccache reads its probe and, refused to write it, goes on reading."""
    ask = asker(Dav())
    ask.caller = READER
    assert ask("GET", "/dav/.sccache_check").status == 404
    assert [ask(method, "/dav/x", b"1").status for method in ("PUT", "DELETE")] == [403, 403]
    assert (ask("MKCOL", "/dav/x/").status, ask("DELETE", "/dav/x/").status) == (403, 403)
    assert ask("PROPFIND", "/dav/", headers={"depth": "0"}).status == 207
    assert ask("OPTIONS", "/dav/").headers["dav"] == "1"


def test_odd_requests_are_refused(asker) -> None:
    """In words."""
    ask = asker(Dav())
    assert ask("PUT", "/dav/a//b", b"1").status == 400
    assert ask("GET", "/dav/a/../b").status == 400
    assert ask("PROPFIND", "/dav/a//b/", headers={"depth": "0"}).status == 400
    assert ask("COPY", "/dav/a").status == 405
    assert ask("PUT", "/dav/a/", b"1").status == 405


def test_a_store_that_fails_is_a_miss(asker) -> None:
    """For a read; a write is told."""
    phrase = asker(Dav()).dialect.phrase
    broken = Refused(Refusal.BROKEN, "disk")
    assert (
        phrase(broken, method="GET", path="/dav/a")[0],
        phrase(broken, method="PUT", path="/dav/a")[0],
    ) == (404, 500)


def test_sccache_starts_without_a_token_that_is_known(asker) -> None:
    """Its probe is absent and may not be written; all else asks for a token."""
    ask = asker(Dav())
    ask.caller = Refused(Refusal.UNAUTHENTICATED, "unknown token")
    assert [ask(method, "/dav/scc/.sccache_check").status for method in ("GET", "PUT")] == [404, 403]
    reply = ask("GET", "/dav/scc/a")
    assert (reply.status, reply.headers["www-authenticate"].split()[0]) == (401, "Basic")


def test_a_directory_that_is_too_large_to_tell_is_refused(asker, monkeypatch) -> None:
    """Rather than told in part, which would look like all."""
    monkeypatch.setattr("vcache.server.dialects.dav._MOST_MEMBERS", 3)
    ask = asker(Dav())
    for number in range(4):
        ask("PUT", f"/dav/a/{number}", b"1")
    assert ask("PROPFIND", "/dav/a/", headers={"depth": "1"}).status == 413
    assert ask("PROPFIND", "/dav/a/", headers={"depth": "0"}).status == 207
