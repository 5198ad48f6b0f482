"""Gradle's dialect: no status that switches its cache off without need."""

from __future__ import annotations

import tarfile

import pytest

from tests.unit.server.dialects.asking import READER
from tests.unit.server.dialects.bodies import tar, tar_gz
from vcache.server.dialects.gradle import Gradle, cost_in
from vcache.server.refused import Refusal, Refused

PATH = "/gradle/0123456789abcdef0123456789abcdef"
METADATA = b"#Sat Nov 21 18:00:00 UTC 2026\ncreationTime=1\nexecutionTime=1234\ntype=JavaCompile\n"
MEMBERS = {"METADATA": METADATA, "property-destinationDir/A.class": bytes(5000)}
BODY = tar_gz(MEMBERS)


@pytest.mark.parametrize("mtime", [0, 1795285788.6549997], ids=["plain", "fractions"])
def test_an_artifact_is_given_back_and_its_time_is_known(asker, mtime) -> None:
    """`executionTime` is what a hit saves, whether or not a header with fractions of times is before it."""
    body = tar_gz(MEMBERS, mtime=mtime)
    ask = asker(Gradle())
    assert ask("GET", PATH).status == 404
    assert ask("PUT", PATH, body, pieces=64).status == 201
    assert ask("PUT", PATH, body).status == 204
    reply = ask("GET", PATH)
    assert (reply.status, reply.body) == (200, body)
    assert reply.headers["content-type"] == "application/vnd.gradle.build-cache-artifact.v1"
    assert ask.entry("gradle", PATH[8:]).cost_ns == 1_234_000_000


@pytest.mark.parametrize("head", [b"", b"x" * 512, b"\0" * 600, BODY, tar(MEMBERS, mtime=0.5)[:900]])
def test_a_time_that_is_not_told_is_none(head) -> None:
    """No tar, another one, or one that is still packed."""
    assert cost_in(head) == 0


def test_a_header_with_a_negative_length_ends_the_search() -> None:
    """It would lead back to itself for ever."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, -512
    assert cost_in(header.tobuf(tarfile.GNU_FORMAT) * 3) == 0


def test_a_task_without_metadata_costs_nothing(asker) -> None:
    """A tar.gz of something else is kept all the same."""
    ask = asker(Gradle())
    assert ask("PUT", PATH, tar_gz({"a": b"executionTime=5\n"})).status == 201
    assert ask.entry("gradle", PATH[8:]).cost_ns == 0


@pytest.mark.parametrize("kind", list(Refusal))
def test_the_cache_stays_on_whatever_goes_wrong(asker, kind) -> None:
    """Except for a token that is not known: somebody has to be told."""
    phrase = asker(Gradle()).dialect.phrase
    put, get = (phrase(Refused(kind, "why"), method=method, path=PATH)[0] for method in ("PUT", "GET"))
    assert (put, get) == ((401, 401) if kind is Refusal.UNAUTHENTICATED else (413, 404))


def test_what_is_not_taken_is_not_kept(asker) -> None:
    """A truncated body, one that is too long, a caller who may only read."""
    ask = asker(Gradle())
    assert ask("PUT", PATH, BODY[:-1]).status == 413
    ask.limit_bytes = 20
    assert ask("PUT", PATH, BODY).status == 413
    ask.caller = READER
    assert ask("PUT", PATH, BODY).status == 413
    assert ask("GET", PATH).status == 404
    assert ask.notes == []
