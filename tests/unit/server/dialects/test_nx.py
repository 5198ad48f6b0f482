"""Nx's dialect: three statuses and no others."""

from __future__ import annotations

import pytest

from tests.unit.server.dialects.asking import READER, WRITER
from tests.unit.server.dialects.bodies import tar_gz
from vcache.server.dialects.nx import Nx
from vcache.server.refused import Refusal, Refused

PATH = "/v1/cache/12445674337407374963"
BODY = tar_gz({"dist/out.js": b"code", "terminalOutput": b"done", "code": b"\0\0\0\0"})


def test_a_record_is_given_back(asker) -> None:
    """A PUT is 200, exactly; so is the GET after it."""
    ask = asker(Nx())
    assert ask("GET", PATH).status == 404
    assert ask("PUT", PATH, BODY, pieces=100).status == 200
    reply = ask("GET", PATH)
    assert (reply.status, reply.body, reply.headers["content-type"]) == (
        200,
        BODY,
        "application/octet-stream",
    )


def test_a_record_is_never_replaced(asker) -> None:
    """A second PUT is 409, which Nx takes without a word."""
    ask = asker(Nx())
    ask("PUT", PATH, BODY)
    assert ask("PUT", PATH, tar_gz({"other": b"1"})).status == 409
    assert ask("GET", PATH).body == BODY


@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_body_is_not_kept(asker, damage) -> None:
    """It is answered with what fails no task."""
    bad = {"cut": BODY[:-3], "flipped": BODY[:30] + b"\xff" + BODY[31:], "other": b"hello"}[damage]
    ask = asker(Nx())
    assert ask("PUT", PATH, bad).status == 409
    assert ask("GET", PATH).status == 404


@pytest.mark.parametrize("kind", list(Refusal))
def test_whatever_goes_wrong_is_said_in_the_statuses_that_nx_takes(asker, kind) -> None:
    """A PUT: 200, 403, 409; a GET: 200, 404."""
    phrase = asker(Nx()).dialect.phrase
    assert phrase(Refused(kind, "why"), method="PUT", path=PATH)[0] in (403, 409)
    assert phrase(Refused(kind, "why"), method="GET", path=PATH)[0] == 404


def test_rights_are_403(asker) -> None:
    """Of a token that may only read, and of one that is not known: neither fails a task."""
    ask = asker(Nx())
    ask.caller = READER
    assert ask("PUT", PATH, BODY).status == 403
    ask.caller = Refused(Refusal.UNAUTHENTICATED, "unknown")
    assert (ask("PUT", PATH, BODY).status, ask("GET", PATH).status) == (403, 404)
    ask.caller = WRITER
    ask.refusal = Refused(Refusal.FULL, "full")
    assert ask("PUT", PATH, BODY).status == 409
    ask.refusal, ask.limit_bytes = None, 10
    assert ask("PUT", PATH, BODY).status == 409
    assert ask.notes == []
