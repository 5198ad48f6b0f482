"""Whatever is asked of a dialect, there is an answer in HTTP, and nothing is kept of what was refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.server.dialects.asking import WRITER, Asker
from vcache.server.callers import NOBODY
from vcache.server.dialect import Dialect
from vcache.server.dialects.ccache import Ccache
from vcache.server.dialects.dav import Dav
from vcache.server.dialects.gradle import Gradle
from vcache.server.dialects.maven import Maven
from vcache.server.dialects.nx import Nx
from vcache.server.dialects.s3 import S3
from vcache.server.dialects.turbo import Turbo
from vcache.store.disk import DiskStore

KEYS = {"alice": ("her secret", WRITER)}
DIALECTS: dict[str, Dialect] = {
    "/ccache/": Ccache(),
    "/dav/": Dav(),
    "/gradle/": Gradle(),
    "/maven/": Maven(),
    "/v1/cache/": Nx(),
    "/s3/": S3(KEYS.get),
    "/v8/artifacts/": Turbo(signature_key=b"key"),
}
METHODS = ("GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS", "PROPFIND", "MKCOL", "BREW")
PATHS = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"[0-9a-f]{2}/?[0-9a-f]{38}", fullmatch=True),
    st.from_regex(r"[a-z]{1,4}/[a-z/.]{0,8}", fullmatch=True),
    st.sampled_from(["status", "events", "", ".sccache_check", "b/k", "0" * 32]),
)
WORDS = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    st.integers(-5, 10**20).map(str),
    st.sampled_from(
        ["bytes=0-", "bytes=-1", "*", "0", "1", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "UNSIGNED-PAYLOAD",
         "AWS4-HMAC-SHA256 Credential=alice/20260101/x/s3/aws4_request, SignedHeaders=host, Signature=" + "0" * 64,
         "AWS4-HMAC-SHA256", "20260101T000000Z", "2"]
    ),
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(
        ["range", "if-none-match", "depth", "authorization", "x-amz-date", "x-amz-content-sha256",
         "x-amz-decoded-content-length", "x-artifact-duration", "x-artifact-tag", "content-length",
         "x-amz-checksum-crc32"]
    ),
    WORDS, max_size=4,
)  # fmt: skip
QUERIES = st.dictionaries(
    st.sampled_from(
        ["teamId", "slug", "list-type", "prefix", "delimiter", "max-keys", "continuation-token", "X-Amz-Algorithm",
         "X-Amz-Expires", "X-Amz-Date", "X-Amz-Credential", "uploads", "location"]
    ),
    WORDS, max_size=4,
)  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"PK\3\4", b'{"hashes": [""]}', b"[[", b"5\r\nab"]
    ),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DiskStore, Path]]:
    uploads = tmp_path_factory.mktemp("uploads")
    opened = DiskStore(tmp_path_factory.mktemp("store") / "cache")
    yield opened, uploads
    assert list(uploads.iterdir()) == []
    opened.close()


@pytest.mark.parametrize("prefix", sorted(DIALECTS))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(METHODS), PATHS, QUERIES, HEADERS, BODIES, st.booleans())
def test_every_request_is_answered(store, prefix, method, path, query, headers, body, is_known) -> None:
    """A status, and a length that is that of the body; a refused or failed PUT is noted nowhere."""
    opened, uploads = store
    ask = Asker(DIALECTS[prefix], opened, uploads, WRITER if is_known or prefix != "/s3/" else NOBODY)
    words = "&".join(f"{quote(name)}={quote(value)}" for name, value in query.items())
    target = prefix + quote(path) + (f"?{words}" if words else "")
    reply = ask(method, target, body, headers)
    assert 200 <= reply.status < 600
    assert reply.status != 500
    if method != "HEAD" and "content-length" in reply.headers:
        assert int(reply.headers["content-length"]) == len(reply.body)
    if reply.status >= 400:
        assert ask.notes == []
