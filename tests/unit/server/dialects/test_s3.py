"""The S3 dialect, signed by botocore."""

from __future__ import annotations

import base64
import hashlib
import time
import zlib
from xml.etree import ElementTree as ET

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.unit.server.dialects.asking import READER, WRITER
from tests.unit.server.dialects.bodies import zipped
from vcache.server.callers import NOBODY
from vcache.server.dialects.s3 import S3
from vcache.server.refused import Refusal, Refused

HOST = "http://cache.example"
SECRETS = {"alice": ("her secret", WRITER), "bob": ("his secret", READER)}
SPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def signed(method, target, body=b"", *, access="alice", secret="her secret", headers=()):
    request = AWSRequest(method, HOST + target, data=body, headers=dict(headers))
    request.context["payload_signing_enabled"] = True
    S3SigV4Auth(Credentials(access, secret), "s3", "auto").add_auth(request)
    return dict(request.headers)


@pytest.fixture
def ask(asker):
    """An open server."""
    return asker(S3())


@pytest.fixture
def guarded(asker):
    """A server with two keys; nobody is known before the signature was looked at."""
    ask = asker(S3(SECRETS.get))
    ask.caller = NOBODY
    return ask


def code(reply) -> str | None:
    return ET.fromstring(reply.body).findtext("Code")


def test_objects_come_and_go(ask) -> None:
    """GET, HEAD, PUT, DELETE, a range, an unchanged object."""
    reply = ask("GET", "/s3/bucket/a/b")
    assert (reply.status, code(reply)) == (404, "NoSuchKey")
    put = ask("PUT", "/s3/bucket/a/b", b"0123456789")
    assert put.status == 200
    got = ask("GET", "/s3/bucket/a/b")
    assert (got.body, got.headers["etag"]) == (b"0123456789", put.headers["etag"])
    assert ask("GET", "/s3/bucket/a/b", headers={"range": "bytes=2-3"}).body == b"23"
    assert ask("GET", "/s3/bucket/a/b", headers={"range": "bytes=20-"}).status == 416
    assert ask("GET", "/s3/bucket/a/b", headers={"if-none-match": put.headers["etag"]}).status == 304
    assert ask("HEAD", "/s3/bucket/a/b").headers["content-length"] == "10"
    assert ask("HEAD", "/s3/bucket/none").status == 404
    assert [ask("DELETE", "/s3/bucket/a/b").status for _ in range(2)] == [204, 204]
    assert ask("GET", "/s3/bucket/a/b").status == 404


def test_an_object_that_is_there_is_kept_where_that_is_asked_for(ask) -> None:
    """`If-None-Match: *` is 412 then."""
    assert ask("PUT", "/s3/b/k", b"1", {"if-none-match": "*"}).status == 200
    reply = ask("PUT", "/s3/b/k", b"2", {"if-none-match": "*"})
    assert (reply.status, code(reply)) == (412, "PreconditionFailed")
    assert ask("GET", "/s3/b/k").body == b"1"


def test_a_bucket_is_listed_in_pages(ask) -> None:
    """ListObjectsV2 with prefix, delimiter and a token for the next page; other buckets stay unseen."""
    for key in ("a/1", "a/2", "a/x/3", "b", "c%26%3C%C3%BC"):
        assert ask("PUT", f"/s3/one/{key}", b"12").status == 200
    ask("PUT", "/s3/two/z", b"1")

    def page(query: str):
        root = ET.fromstring(ask("GET", f"/s3/one?list-type=2&{query}").body)
        keys = [item.findtext(f"{SPACE}Key") for item in root.iter(f"{SPACE}Contents")]
        groups = [item.findtext(f"{SPACE}Prefix") for item in root.iter(f"{SPACE}CommonPrefixes")]
        return keys, groups, root.findtext(f"{SPACE}NextContinuationToken")

    assert page("") == (["a/1", "a/2", "a/x/3", "b", "c&<ü"], [], None)
    assert page("delimiter=/") == (["b", "c&<ü"], ["a/"], None)
    assert page("prefix=a/&delimiter=/") == (["a/1", "a/2"], ["a/x/"], None)
    keys, _, token = page("max-keys=2")
    assert (keys, token) == (["a/1", "a/2"], "a/2")
    assert page(f"max-keys=2&continuation-token={token}")[0] == ["a/x/3", "b"]
    assert page("start-after=b")[0] == ["c&<ü"]
    assert page("start-after=b&encoding-type=url")[0] == ["c%26%3C%C3%BC"]
    assert ask("GET", "/s3/one?list-type=2&max-keys=many").status == 400


def test_buckets_are_there(ask) -> None:
    """Any of them, at once; what else S3 can do is refused in its words."""
    assert ask("HEAD", "/s3/bucket").status == 200
    assert ask("PUT", "/s3/bucket").status == 200
    assert ask("GET", "/s3/bucket?location=").status == 200
    assert ask("GET", "/s3/").status == 200
    for method, target in (
        ("POST", "/s3/b/k?uploads"),
        ("GET", "/s3/b?acl"),
        ("DELETE", "/s3/b"),
        ("POST", "/s3/"),
    ):
        reply = ask(method, target)
        assert (reply.status, code(reply)) == (501, "NotImplemented")
    assert ask("PUT", "/s3/b/k", b"", {"x-amz-copy-source": "/b/other"}).status == 501


def test_a_zip_is_kept_only_whole(ask) -> None:
    """As sccache writes it."""
    body = zipped({"obj": bytes(3000)})
    assert ask("PUT", "/s3/b/k", body[:-1]).status == 400
    assert ask("PUT", "/s3/b/k", body).status == 200


@pytest.mark.parametrize(
    "target", ["/s3/b/k", "/s3/b/a%20b%2Bc/%C3%BC~x", "/s3/b?list-type=2&prefix=a%2Fb&delimiter="]
)
def test_what_botocore_signs_is_let_in(guarded, target) -> None:
    """Whatever is in the path and the query."""
    assert guarded("GET", target, headers=signed("GET", target)).status in (200, 404)
    if "?" not in target:
        assert guarded("PUT", target, b"body", signed("PUT", target, b"body")).status == 200
        guarded.caller = NOBODY
        assert guarded("GET", target, headers=signed("GET", target)).body == b"body"
        assert (
            guarded(
                "PUT", target, b"b", signed("PUT", target, b"b", access="bob", secret="his secret")
            ).status
            == 403
        )


def test_what_is_signed_otherwise_is_not_let_in(guarded) -> None:
    """Not signed, by nobody known, with another secret, of another path, query or header, or too old."""
    right = signed("GET", "/s3/b/k")
    stale = dict(right, **{"X-Amz-Date": "20200101T000000Z"})
    wrong: tuple[tuple[str, dict[str, str]], ...] = (
        ("/s3/b/k", {}),
        ("/s3/b/k", signed("GET", "/s3/b/k", access="eve")),
        ("/s3/b/k", signed("GET", "/s3/b/k", secret="guessed")),
        ("/s3/b/other", right),
        ("/s3/b/k?list-type=2", right),
        ("/s3/b/k", dict(right, **{"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})),
        ("/s3/b/k", {"Authorization": "AWS4-HMAC-SHA256 nonsense"}),
        ("/s3/b/k", {**right, "Authorization": right["Authorization"].replace("/s3/", "/ec2/")}),
        ("/s3/b/k", stale),
    )
    for target, headers in wrong:
        reply = guarded("GET", target, headers=headers)
        assert reply.status in (400, 403), (target, headers)
    assert guarded("GET", "/s3/b/k", headers=right).status == 404


def test_a_signed_body_is_the_one_that_is_kept(guarded) -> None:
    """A body that was changed on its way is not."""
    headers = signed("PUT", "/s3/b/k", b"body")
    assert guarded("PUT", "/s3/b/k", b"bode", headers).status == 400
    assert guarded.names("s3") == []


def test_a_presigned_address_is_let_in_for_a_while(asker) -> None:
    """Up to its end, and for its method only."""
    now = [time.time()]
    ask = asker(S3(SECRETS.get, clock=lambda: now[0]))
    ask.caller = NOBODY
    request = AWSRequest("GET", f"{HOST}/s3/b/k")
    S3SigV4QueryAuth(Credentials("alice", "her secret"), "s3", "auto", expires=60).add_auth(request)
    target = request.url.removeprefix(HOST)
    assert ask("GET", target).status == 404
    assert ask("PUT", target, b"1").status == 403
    now[0] += 3600
    assert ask("GET", target).status == 403


def wrapped(content: bytes, piece: int, trailer: str) -> bytes:
    parts = [content[start : start + piece] for start in range(0, len(content), piece)]
    return (
        b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + f"0\r\n{trailer}\r\n\r\n".encode()
    )


CONTENT = bytes(range(256)) * 40
CRC = "x-amz-checksum-crc32:" + base64.b64encode(zlib.crc32(CONTENT).to_bytes(4, "big")).decode()
STREAMING = {
    "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "content-encoding": "aws-chunked",
    "x-amz-decoded-content-length": str(len(CONTENT)),
    "x-amz-trailer": "x-amz-checksum-crc32",
}


@pytest.mark.parametrize("pieces", [1, 3, 1000, 1 << 20])
def test_an_aws_chunked_body_is_unwrapped(ask, pieces) -> None:
    """However the network cuts it."""
    assert ask("PUT", "/s3/b/k", wrapped(CONTENT, 4000, CRC), STREAMING, pieces=pieces).status == 200
    assert ask("GET", "/s3/b/k").body == CONTENT


def test_an_aws_chunked_body_that_is_not_whole_is_refused(ask) -> None:
    """Cut off, of another length or checksum, or no chunks at all; chunks with signatures as well."""
    body = wrapped(CONTENT, 4000, CRC)
    other = CRC.replace(":", ":AAAA")
    for bad in (
        body[:-20],
        body[:5000],
        wrapped(CONTENT, 4000, other),
        wrapped(CONTENT[1:], 4000, ""),
        CONTENT,
        b"5\r\nabcdefgh\r\n0\r\n\r\n",
    ):
        assert ask("PUT", "/s3/b/k", bad, STREAMING).status == 400
    reply = ask(
        "PUT", "/s3/b/k", body, {**STREAMING, "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}
    )
    assert (reply.status, code(reply)) == (501, "NotImplemented")
    assert ask.names("s3") == []


def test_checksums_in_headers_are_compared(ask) -> None:
    """SHA-256 and CRC-32; those of other kinds are nobody's word."""
    sha = base64.b64encode(hashlib.sha256(b"1").digest()).decode()
    assert ask("PUT", "/s3/b/k", b"1", {"x-amz-checksum-sha256": sha}).status == 200
    assert ask("PUT", "/s3/b/k", b"2", {"x-amz-checksum-sha256": sha}).status == 400
    assert ask("PUT", "/s3/b/k", b"2", {"x-amz-checksum-crc64nvme": "x"}).status == 200


@pytest.mark.parametrize("kind", list(Refusal))
def test_every_refusal_has_a_code(ask, kind) -> None:
    """As XML, whatever is in the words."""
    status, _, body = ask.dialect.phrase(Refused(kind, "why <&\0>"), method="PUT", path="/s3/b/\x01")
    assert status >= 400
    assert ET.fromstring(body).findtext("Message") == "why <&?>"


def test_sccache_starts_without_a_key_that_is_known(guarded) -> None:
    """Its probe is absent and may not be written; all else is denied."""
    assert [guarded(method, "/s3/b/.sccache_check").status for method in ("GET", "PUT")] == [404, 403]
    assert guarded("GET", "/s3/b/a").status == 403


def test_numbers_beyond_all_bounds_are_refused_in_words(ask, guarded) -> None:
    """Python reads no number of thousands of digits, and says so by an error of its own."""
    endless = "9" * 5000
    ask("PUT", "/s3/b/k", b"0123456789")
    assert ask("GET", "/s3/b/k", headers={"range": f"bytes={endless}-"}).status == 200
    assert ask("GET", f"/s3/b?list-type=2&max-keys={endless}").status == 400
    assert (
        ask("PUT", "/s3/b/k", CONTENT, {**STREAMING, "x-amz-decoded-content-length": endless}).status == 400
    )
    presigned = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20200101T000000Z&X-Amz-Expires={endless}"
    assert guarded("GET", f"/s3/b/k?{presigned}").status == 400
