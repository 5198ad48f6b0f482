"""Turborepo's dialect."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct

import pytest

from tests.unit.server.dialects.asking import READER
from tests.unit.server.dialects.bodies import tar_zst
from vcache.server.dialects.turbo import Turbo
from vcache.server.refused import Refusal, Refused

HASH = "0123456789abcdef"
PATH = f"/v8/artifacts/{HASH}"
BODY = tar_zst({"packages/a/dist/x.js": b"code" * 1000})
KEY = b"a key of 32 bytes or more than it"


def test_an_artifact_comes_back_with_its_duration_and_tag(asker) -> None:
    """As they were sent; the duration is what a hit saves."""
    ask = asker(Turbo())
    assert ask("GET", f"{PATH}?slug=ours").status == 404
    sent = {"x-artifact-duration": "1500", "x-artifact-tag": "dGFn+/==", "x-artifact-sha": "abc"}
    reply = ask("PUT", f"{PATH}?slug=ours", BODY, sent, pieces=50)
    assert (reply.status, json.loads(reply.body)) == (202, {"urls": [f"ours/{HASH}"]})
    reply = ask("GET", f"{PATH}?slug=ours")
    assert (reply.status, reply.body) == (200, BODY)
    assert (reply.headers["x-artifact-duration"], reply.headers["x-artifact-tag"]) == ("1500", "dGFn+/==")
    assert ask("HEAD", f"{PATH}?slug=ours").headers["content-length"] == str(len(BODY))
    assert ask.entry("turbo", f"ours/{HASH}").cost_ns == 1_500_000_000


def test_teams_do_not_see_each_other(asker) -> None:
    """A team is its id, or its slug where there is no id."""
    ask = asker(Turbo())
    ask("PUT", f"{PATH}?teamId=team_1&slug=ours", BODY)
    assert ask("GET", f"{PATH}?slug=ours").status == 404
    assert ask("GET", f"{PATH}?teamId=team_1").status == 200
    assert ask("GET", f"{PATH}?teamId=a/b").status == 400


def test_the_status_is_enabled(asker) -> None:
    """Otherwise turbo warns and goes without."""
    reply = asker(Turbo())("GET", "/v8/artifacts/status?slug=ours")
    assert (reply.status, json.loads(reply.body)) == (200, {"status": "enabled"})


def test_events_are_counted(asker) -> None:
    """Those that are known; others are passed over."""
    told: list[tuple[str, str]] = []
    dialect = Turbo(tell=lambda *event: told.append(event))
    events = [
        {"source": "REMOTE", "event": "HIT", "hash": HASH, "duration": 5},
        {"source": "REMOTE", "event": "HIT"},
        {"source": "LOCAL", "event": "MISS"},
        {"source": "x", "event": "HIT"},
        "no event",
    ]
    ask = asker(dialect)
    assert ask("POST", "/v8/artifacts/events", json.dumps(events).encode()).status == 200
    assert told == [("REMOTE", "HIT"), ("REMOTE", "HIT"), ("LOCAL", "MISS")]
    assert ask("POST", "/v8/artifacts/events", b"{").status == 400


def test_many_artifacts_are_asked_for_at_once(asker) -> None:
    """What is there is told with size, duration and tag."""
    ask = asker(Turbo())
    ask("PUT", f"{PATH}?slug=t", BODY, {"x-artifact-duration": "7", "x-artifact-tag": "T"})
    reply = ask("POST", "/v8/artifacts?slug=t", json.dumps({"hashes": [HASH, "ffff"]}).encode())
    said = json.loads(reply.body)
    assert said[HASH] == {"size": len(BODY), "taskDurationMs": 7, "tag": "T"}
    assert "error" in said["ffff"]
    for bad in (
        b"[]",
        b'{"hashes": "ff"}',
        b'{"hashes": [1]}',
        b'{"hashes": ["' + b"f" * 70_000 + b'"]}',
        b"[" * 50_000,
    ):
        assert ask("POST", "/v8/artifacts", bad).status == 400


def test_a_preflight_lets_the_token_through(asker) -> None:
    """Without `Authorization` among the allowed headers the client drops it."""
    ask = asker(Turbo())
    reply = ask("OPTIONS", PATH)
    assert reply.status < 300
    assert "authorization" in reply.headers["access-control-allow-headers"].lower()
    assert not ask.dialect.needs_token("OPTIONS", PATH)


@pytest.mark.parametrize("bad", [BODY[:-2], b"", b"no zstd at all", BODY + b"!"])
def test_a_damaged_body_is_not_kept(asker, bad) -> None:
    """Nor one that is no Zstandard."""
    ask = asker(Turbo())
    assert ask("PUT", PATH, bad).status == 400
    assert ask("GET", PATH).status == 404


def test_a_header_that_could_not_be_given_back_is_refused(asker) -> None:
    """A duration is a number, a tag one printable word."""
    ask = asker(Turbo())
    for headers in ({"x-artifact-duration": "1.5"}, {"x-artifact-tag": "a b"}, {"x-artifact-tag": "x" * 601}):
        assert ask("PUT", PATH, BODY, headers).status == 400


def tag(key: bytes, artifact: str, team: str, body: bytes) -> str:
    """Version 2, written down a second time."""
    parts = (b"artifact-signature:v2", artifact.encode(), team.encode(), body)
    text = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()


def test_with_the_key_only_signed_artifacts_are_kept(asker) -> None:
    """Signed by this key, for this hash and team, over this body."""
    ask = asker(Turbo(signature_key=KEY))
    wrong: tuple[dict[str, str], ...] = (
        {},
        {"x-artifact-tag": tag(b"another key", HASH, "team_1", BODY)},
        {"x-artifact-tag": tag(KEY, "f" * 16, "team_1", BODY)},
        {"x-artifact-tag": tag(KEY, HASH, "", BODY)},
        {"x-artifact-tag": tag(KEY, HASH, "team_1", BODY[1:])},
    )
    for headers in wrong:
        assert ask("PUT", f"{PATH}?teamId=team_1", BODY, headers).status == 403
    assert ask("GET", f"{PATH}?teamId=team_1").status == 404
    right = {"x-artifact-tag": tag(KEY, HASH, "team_1", BODY)}
    assert ask("PUT", f"{PATH}?teamId=team_1", BODY, right, pieces=10).status == 202
    assert ask("PUT", PATH, BODY, {"x-artifact-tag": tag(KEY, HASH, "", BODY)}).status == 202


@pytest.mark.parametrize("kind", list(Refusal))
def test_nothing_opens_the_breaker_of_the_client(asker, kind) -> None:
    """No answer is 5xx, and each says why in JSON."""
    phrase = asker(Turbo()).dialect.phrase
    for method in ("GET", "PUT", "POST"):
        status, _, body = phrase(Refused(kind, "the reason"), method=method, path=PATH)
        assert 400 <= status < 500
        assert json.loads(body)["error"]["message"] == "the reason"


def test_rights_hold(asker) -> None:
    """A reader reads."""
    ask = asker(Turbo())
    ask.caller = READER
    assert ask("PUT", PATH, BODY).status == 403
    assert ask("GET", PATH).status == 404


@pytest.mark.parametrize("path", ["/v2/user", "/v2/teams", "/v5/user/tokens/current"])
def test_a_login_is_answered(asker, path) -> None:
    """In JSON, with nothing in it that would be wrong."""
    assert isinstance(json.loads(asker(Turbo())("GET", path).body), dict)


def test_other_calls_are_refused(asker) -> None:
    """In words."""
    assert asker(Turbo())("DELETE", PATH).status == 405
    assert asker(Turbo())("GET", "/v8/artifacts/a/b").status == 405
