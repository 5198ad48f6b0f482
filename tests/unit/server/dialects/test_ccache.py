"""ccache's dialect."""

from __future__ import annotations

import pytest

from tests.unit.server.dialects.asking import READER
from vcache.server.dialects.ccache import Ccache, key_in
from vcache.server.refused import Refusal, Refused

OLD = "51c7j8vsa3cdvgrvft53vi57483ecmbp2"
NEW = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize("key", [OLD, NEW], ids=["33", "40"])
def test_all_layouts_lead_to_one_value(asker, key) -> None:
    """What is put under one spelling is found under the others, and forgotten under any."""
    ask = asker(Ccache())
    subdirs, flat, bazel = f"/ccache/{key[:2]}/{key[2:]}", f"/ccache/{key}", f"/ccache/ac/{key}{key[:24]}"
    assert ask("GET", flat).status == 404
    assert ask("PUT", subdirs, b"object").status == 201
    assert ask("PUT", flat, b"object").status == 204
    assert (ask("GET", flat).body, ask("GET", subdirs).body) == (b"object", b"object")
    if key == NEW:
        assert ask("GET", bazel).body == b"object"
    assert ask("DELETE", flat).status == 204
    assert ask("DELETE", flat).status == 404
    assert ask("GET", subdirs).status == 404


def test_head_tells_the_length_without_the_body(asker) -> None:
    """As CCACHE_RESHARE asks before it writes."""
    ask = asker(Ccache())
    assert ask("HEAD", f"/ccache/{OLD}").status == 404
    ask("PUT", f"/ccache/{OLD}", b"12345")
    reply = ask("HEAD", f"/ccache/{OLD}")
    assert (reply.status, reply.headers["content-length"], reply.body) == (200, "5", b"")


@pytest.mark.parametrize(
    "path", ["/ccache/", "/ccache/short", f"/ccache/{OLD.upper()}", f"/ccache/{NEW}0", f"/ccache/x/{NEW}",
             f"/ccache/ac/{NEW}{NEW[1:25]}", f"/ccache/../{NEW}"],
)  # fmt: skip
def test_other_paths_are_no_keys(asker, path) -> None:
    """They are refused in words, and never a value's name."""
    assert key_in(path) is None
    assert asker(Ccache())("GET", path).status == 400


def test_an_empty_value_is_not_taken(asker) -> None:
    """ccache takes an answer without a body for an error."""
    ask = asker(Ccache())
    assert ask("PUT", f"/ccache/{OLD}", b"", {"content-length": "0"}).status == 400
    assert ask("GET", f"/ccache/{OLD}").status == 404


def test_refusals_are_plain(asker) -> None:
    """ccache counts them and compiles; nothing is changed."""
    ask = asker(Ccache())
    ask.refusal = Refused(Refusal.FULL, "no room in the quota")
    reply = ask("PUT", f"/ccache/{OLD}", b"1")
    assert (reply.status, reply.body) == (507, b"no room in the quota\n")
    ask.refusal, ask.caller = None, READER
    assert ask("PUT", f"/ccache/{OLD}", b"1").status == 403
    assert ask("DELETE", f"/ccache/{OLD}").status == 403
    ask.caller = Refused(Refusal.UNAUTHENTICATED, "unknown token")
    assert "www-authenticate" in ask("GET", f"/ccache/{OLD}").headers
    ask.caller = READER
    assert ask("POST", f"/ccache/{OLD}").status == 405
    assert ask.notes == []


def test_a_client_that_goes_away_leaves_nothing(asker) -> None:
    """Neither a value nor a file, be the body short or long."""
    ask = asker(Ccache())
    for size in (10, 3 << 20):
        ask(
            "PUT", f"/ccache/{OLD}", bytes(size), {"content-length": str(size + 1)}, pieces=65536, is_cut=True
        )
        assert ask("GET", f"/ccache/{OLD}").status == 404
